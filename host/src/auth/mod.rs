//! SASL mechanisms and account checks, without I/O of their own.
