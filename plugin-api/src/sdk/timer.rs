//! Timers.

use super::Host;
use super::handler::{Event, Nothing};
use crate::abi::v1::Call;

/// A timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The registration's id.
    pub id: u64,
}

/// The event behind timers.
#[derive(Debug)]
pub struct TimerEvent;

impl Event for TimerEvent {
    type Arg<'a> = Tick;
    type Answer = Nothing;

    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Tick, String> {
        Ok(Tick { id: u64::try_from(call.number).unwrap_or_default() })
    }

    fn own(tick: Tick) -> Tick {
        tick
    }
}
