//! The fake host's clock and the tasks it drives. No lock is held while a module runs.

use super::ops::State;
use super::world::{FakeHost, Task, World};
use crate::abi::v1::{Call, call, registration, reply, status};
use crate::glue::caller::{Answered, Called, Caller, TaskHandle};
use abi_stable::std_types::{RSlice, RStr};
use std::time::{Duration, Instant};

/// An instance as the host keeps it.
pub(super) struct Running {
    pub(super) module: String,
    /// When [`Module::on_idle`](crate::sdk::Module::on_idle) is due.
    pub(super) idle_at: Option<u64>,
    pub(super) caller: Caller,
}

/// A call with everything empty but what is named.
pub(super) fn blank(kind: u32) -> Call<'static> {
    Call {
        kind,
        target: 0,
        handler: 0,
        number: 0,
        task_id: 0,
        from: RStr::from_str(""),
        to: RStr::from_str(""),
        id: RStr::from_str(""),
        name: RStr::from_str(""),
        args: RStr::from_str(""),
        body: RSlice::from_slice(b""),
    }
}

enum Due {
    Timer(u64),
    Operation(u64),
    Idle(u64),
}

impl World {
    pub(super) fn module_of(&self, instance: u64) -> &str {
        self.instances.get(&instance).map_or("a module that is starting", |i| i.module.as_str())
    }

    /// What happens next, and when.
    fn next_due(&self, timers: bool) -> Option<(u64, Due)> {
        let timer = |(id, r): (&u64, &super::Registered)| {
            (r.kind == registration::TIMER).then_some((r.due_ms, Due::Timer(*id)))
        };
        let ops = self.ops.iter().filter_map(|(id, op)| match op.state {
            State::At(due, _) if op.waiter.is_some() => Some((due, Due::Operation(*id))),
            _ => None,
        });
        let idle = self.instances.iter().filter_map(|(id, i)| i.idle_at.map(|at| (at, Due::Idle(*id))));
        let clocks = self.registrations.iter().filter_map(timer).chain(idle).filter(|_| timers);
        clocks.chain(ops).min_by_key(|(due, _)| *due)
    }
}

impl FakeHost {
    /// Moves the clock: timers fire, sleeps end, idle instances hear of it, and tasks run, each at its time.
    pub fn advance(&self, time: Duration) {
        self.run();
        let target = self.now_ms().saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        while self.step(target, true) {}
        let mut world = self.world();
        world.now_ms = world.now_ms.max(target);
    }

    /// Polls tasks until none is woken.
    pub fn run(&self) {
        loop {
            let next = {
                let mut world = self.world();
                let Some(id) = world.woken.pop_front() else { return };
                world.tasks.get_mut(&id).and_then(|task| task.handle.take()).map(|handle| (id, handle))
            };
            if let Some((id, handle)) = next {
                self.poll(id, handle);
            }
        }
    }

    fn poll(&self, id: u64, mut handle: TaskHandle) {
        match handle.poll(id) {
            None => {
                // When the instance was stopped meanwhile, the handle ends here, outside the lock.
                if let Some(task) = self.world().tasks.get_mut(&id) {
                    task.handle = Some(handle);
                }
            }
            Some(answered) => {
                drop(handle);
                let mut world = self.world();
                let awaited = world.tasks.remove(&id).is_some_and(|task| task.awaited);
                if awaited {
                    world.answers.insert(id, answered);
                } else {
                    drop(world);
                    assert_sound(&answered);
                }
            }
        }
    }

    /// Does what is due next, if that is not after `target`.
    fn step(&self, target: u64, timers: bool) -> bool {
        let due = {
            let mut world = self.world();
            match world.next_due(timers) {
                Some((at, due)) if at <= target => {
                    world.now_ms = world.now_ms.max(at);
                    due
                }
                _ => return false,
            }
        };
        match due {
            Due::Timer(id) => self.fire(id),
            Due::Operation(id) => self.wake_for(id),
            Due::Idle(instance) => self.idle(instance),
        }
        self.run();
        true
    }

    fn wake_for(&self, op: u64) {
        let mut world = self.world();
        let waiter = world.ops.get_mut(&op).and_then(|op| op.waiter.take());
        world.woken.extend(waiter);
    }

    fn fire(&self, id: u64) {
        let (instance, handler) = {
            let mut world = self.world();
            let Some(timer) = world.registrations.get_mut(&id) else { return };
            let found = (timer.instance, timer.handler);
            if timer.target == 1 {
                timer.due_ms = timer.due_ms.saturating_add(timer.interval_ms.max(1));
            } else {
                world.registrations.remove(&id);
            }
            found
        };
        let number = id.cast_signed();
        match self.begin_call(instance, Call { handler, number, ..blank(call::TIMER) }) {
            Ok(answered) => assert_sound(&answered),
            Err(task) => {
                if let Some(task) = self.world().tasks.get_mut(&task) {
                    task.awaited = false;
                }
            }
        }
    }

    fn idle(&self, instance: u64) {
        if let Some(instance) = self.world().instances.get_mut(&instance) {
            instance.idle_at = None;
        }
        let answered = self.call(instance, blank(call::IDLE));
        assert_sound(&answered);
        self.note_flow(instance, &answered);
    }

    /// Remembers when an instance wants to hear of silence.
    pub(super) fn note_flow(&self, instance: u64, answered: &Answered) {
        let mut world = self.world();
        let now = world.now_ms;
        let Some(instance) = world.instances.get_mut(&instance) else { return };
        instance.idle_at = match answered.code {
            reply::START_RUNNING_AFTER | reply::FLOW_CONTINUE_AFTER => {
                Some(now.saturating_add(answered.number.unsigned_abs()))
            }
            _ => None,
        };
    }

    /// Makes a call and, if it becomes a task, moves the clock until that has answered.
    pub(super) fn call(&self, instance: u64, call: Call<'_>) -> Answered {
        match self.begin_call(instance, call) {
            Ok(answered) => answered,
            Err(task) => self.finish(task),
        }
    }

    /// Makes a call; the error is the number of the task that it became.
    pub(super) fn begin_call(&self, instance: u64, mut call: Call<'_>) -> Result<Answered, u64> {
        let (caller, id) = {
            let mut world = self.world();
            let id = world.id();
            let running = world.instances.get(&instance).expect("the instance was stopped");
            (running.caller.clone(), id)
        };
        call.task_id = id;
        match caller.call(&call) {
            Called::Answered(answered) => Ok(answered),
            Called::Task(handle) => {
                let mut world = self.world();
                world.tasks.insert(id, Task { instance, handle: Some(handle), awaited: true });
                world.woken.push_back(id);
                Err(id)
            }
        }
    }

    /// The answer of a task, if it has one.
    pub(super) fn answer_of(&self, task: u64) -> Option<Answered> {
        self.run();
        self.world().answers.remove(&task)
    }

    pub(super) fn finish(&self, task: u64) -> Answered {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(answered) = self.answer_of(task) {
                return answered;
            }
            // A task that waits for a thread of the module's own is woken by it; the clock has nothing to do with that.
            if !self.step(u64::MAX, false) {
                assert!(self.world().tasks.contains_key(&task), "the task was dropped before it answered");
                assert!(Instant::now() < patience, "the handler waits for something that never happens");
                std::thread::yield_now();
            }
        }
    }
}

/// A panic of the module fails the test.
pub(super) fn assert_sound(answered: &Answered) {
    assert_ne!(answered.status, status::PANIC, "the module panicked: {}", answered.text);
}
