//! Every default of the configuration, in one place.
