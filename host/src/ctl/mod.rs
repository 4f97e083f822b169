//! The control socket: parsing of requests and printing of answers, no decisions.
