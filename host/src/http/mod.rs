//! Health, metrics, the admin API.
