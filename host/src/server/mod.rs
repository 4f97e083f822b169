//! Assembly: builds the rooms, implements the traits between them, phases, signals, order of shutdown.
