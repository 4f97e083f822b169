//! The configuration file: raw shape, validated values, defaults, differences for a reload.
