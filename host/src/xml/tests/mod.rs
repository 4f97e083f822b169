//! Tests of the framer as a whole: a table of rules, cutting into pieces, and a second parser as a judge.

use super::{Element, Event, FrameError, FrameErrorClass, Framer, Limits, Node, StreamHeader};

mod cutting;
pub(crate) mod generator;
mod oracle;
mod rules;
