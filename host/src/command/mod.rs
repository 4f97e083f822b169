//! The one command table from which the control program, HTTP, completion and documentation derive.
