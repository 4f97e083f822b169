//! The mailbox: bounds, wake-ups, ends, and many senders at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::super::mailbox::{
    Batch, Delivery, MailboxLimits, MailboxReceiver, MailboxSender, Refusal, SharedCopies, mailbox,
};
use crate::stanza::{Stanza, StreamErrorCondition};

fn message(id: usize) -> Stanza {
    Stanza::parse(format!("<message id='{id}' from='a@b/c' to='d@e/f'/>").as_bytes()).unwrap()
}

fn stanza(xml: &str) -> Stanza {
    Stanza::parse(xml.as_bytes()).unwrap()
}

fn limits(items: usize) -> MailboxLimits {
    MailboxLimits { items, bytes: 1 << 20, stalled_after: Duration::from_secs(60) }
}

fn ids(receiver: &mut MailboxReceiver, max_bytes: usize) -> (Vec<usize>, bool) {
    let mut batch = Batch::new();
    let more = receiver.drain(&mut batch, max_bytes);
    let id = |delivery: &Delivery| match delivery {
        Delivery::Stanza(stanza) => stanza.id().unwrap().parse().unwrap(),
        Delivery::Close(error) => panic!("closed with {error:?}"),
    };
    (batch.iter().map(id).collect(), more)
}

fn refusal(sender: &MailboxSender, stanza: Stanza) -> Option<Refusal> {
    sender.push(stanza).err().map(|refused| refused.why)
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_push_onto_something_wakes_nobody() {
    let (sender, mut receiver) = mailbox(limits(10));
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    assert_eq!(receiver.poll_ready(&mut context), Poll::Pending);
    for id in 0..5 {
        sender.push(message(id)).unwrap();
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(receiver.poll_ready(&mut context), Poll::Ready(()));
    assert_eq!(ids(&mut receiver, usize::MAX), (vec![0, 1, 2, 3, 4], false));
    assert_eq!(receiver.poll_ready(&mut context), Poll::Pending);
    sender.push(message(5)).unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}

#[test]
fn a_drain_takes_what_fits_and_at_least_one() {
    let (sender, mut receiver) = mailbox(limits(10));
    for id in 0..4 {
        sender.push(message(id)).unwrap();
    }
    let (_, bytes) = sender.backlog();
    assert_eq!(ids(&mut receiver, 1), (vec![0], true));
    assert_eq!(ids(&mut receiver, bytes / 2), (vec![1, 2], true));
    assert_eq!(ids(&mut receiver, usize::MAX), (vec![3], false));
    assert_eq!(sender.backlog(), (0, 0));
}

#[test]
fn both_bounds_hold_and_the_reserve_is_for_what_cannot_be_bounced() {
    let (sender, mut receiver) = mailbox(limits(4));
    for id in 0..4 {
        sender.push(message(id)).unwrap();
    }
    let request = "<iq type='get' id='9' from='a@b/c' to='d@e/f'><q xmlns='urn:x'/></iq>";
    assert_eq!(refusal(&sender, message(4)), Some(Refusal::Full));
    assert_eq!(refusal(&sender, stanza(request)), Some(Refusal::Full));
    let result = "<iq type='result' id='10' from='a@b/c' to='d@e/f'/>";
    let error = "<message type='error' id='11' from='a@b/c' to='d@e/f'/>";
    assert_eq!(refusal(&sender, stanza(result)), None);
    assert_eq!(refusal(&sender, stanza(error)), None);
    assert_eq!(ids(&mut receiver, usize::MAX).0, [0, 1, 2, 3, 10, 11]);

    let big = "x".repeat(1000);
    let (sender, _receiver) = mailbox(MailboxLimits { bytes: 1500, ..limits(100) });
    let say = || stanza(&format!("<message from='a@b/c' to='d@e/f'><body>{big}</body></message>"));
    assert_eq!(refusal(&sender, say()), None);
    assert_eq!(refusal(&sender, say()), Some(Refusal::Full));
}

#[test]
fn an_empty_mailbox_takes_one_stanza_however_large() {
    let (sender, _receiver) = mailbox(MailboxLimits { bytes: 10, ..limits(10) });
    assert_eq!(refusal(&sender, message(1)), None);
    assert_eq!(refusal(&sender, message(2)), Some(Refusal::Full));
}

#[test]
fn a_used_up_reserve_closes_the_session_after_what_it_holds() {
    let (sender, mut receiver) = mailbox(limits(4));
    let presence = || stanza("<presence id='1' from='a@b/c' to='d@e/f'/>");
    let taken = (0..20).take_while(|_| refusal(&sender, presence()).is_none()).count();
    assert_eq!(taken, 6, "four, a quarter more, and one");
    assert_eq!(refusal(&sender, message(1)), Some(Refusal::Closed));
    assert!(!sender.is_open());
    let mut batch = Batch::new();
    assert!(!receiver.drain(&mut batch, usize::MAX));
    assert_eq!(batch.len(), 7);
    let Some(Delivery::Close(error)) = batch.last() else { panic!("not closed: {batch:?}") };
    assert_eq!(error.condition, StreamErrorCondition::ResourceConstraint);
    batch.clear();
    receiver.drain(&mut batch, usize::MAX);
    assert!(batch.is_empty(), "nothing follows the close");
}

#[test]
fn a_client_that_reads_nothing_for_too_long_is_closed() {
    let (sender, mut receiver) = mailbox(MailboxLimits { stalled_after: Duration::ZERO, ..limits(1) });
    sender.push(message(1)).unwrap();
    assert_eq!(refusal(&sender, message(2)), Some(Refusal::Closed));
    let mut batch = Batch::new();
    receiver.drain(&mut batch, usize::MAX);
    assert!(matches!(batch.last(), Some(Delivery::Close(_))));
}

#[test]
fn reading_ends_the_stall() {
    let (sender, mut receiver) = mailbox(limits(1));
    sender.push(message(1)).unwrap();
    assert_eq!(refusal(&sender, message(2)), Some(Refusal::Full));
    ids(&mut receiver, usize::MAX);
    sender.push(message(3)).unwrap();
    assert_eq!(refusal(&sender, message(4)), Some(Refusal::Full));
}

#[test]
fn a_seal_gives_back_what_nobody_took_and_refuses_the_rest() {
    let (sender, mut receiver) = mailbox(limits(10));
    for id in 0..4 {
        sender.push(message(id)).unwrap();
    }
    ids(&mut receiver, 1);
    drop(receiver);
    assert_eq!(refusal(&sender, message(4)), Some(Refusal::Closed));
    let back: Vec<_> = sender.seal().iter().map(|stanza| stanza.id().unwrap().into_owned()).collect();
    assert_eq!(back, ["1", "2", "3"]);
    assert!(sender.seal().is_empty());
}

#[test]
fn the_last_untaken_copy_comes_back_and_no_other() {
    for taken in [false, true] {
        let mut boxes: Vec<_> = (0..3).map(|_| mailbox(limits(10))).collect();
        let copies = SharedCopies::default();
        for (sender, _) in &boxes {
            sender.push_copy(message(1), &copies).unwrap();
        }
        assert!(!copies.all_lost());
        if taken {
            ids(&mut boxes[1].1, usize::MAX);
        }
        let back: usize = boxes.iter().map(|(sender, _)| sender.seal().len()).sum();
        assert_eq!(back, usize::from(!taken));
    }
}

#[test]
fn copies_that_are_lost_before_the_sender_has_ended_are_the_senders_matter() {
    let (sender, _receiver) = mailbox(limits(10));
    let copies = SharedCopies::default();
    sender.push_copy(message(1), &copies).unwrap();
    assert!(sender.seal().is_empty());
    assert!(copies.all_lost());
}

#[test]
fn bounds_without_bound_do_not_overflow() {
    let boundless = MailboxLimits { items: usize::MAX, bytes: usize::MAX, stalled_after: Duration::MAX };
    let (sender, mut receiver) = mailbox(boundless);
    for id in 0..10 {
        sender.push(message(id)).unwrap();
    }
    assert_eq!(ids(&mut receiver, usize::MAX).0.len(), 10);
}

/// Several senders, one reader that sleeps between wake-ups, a small mailbox: nothing is lost, doubled or reordered,
/// and no wake-up is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_lose_nothing_and_keep_their_order() {
    const SENDERS: usize = 4;
    const EACH: usize = 5_000;
    let (sender, mut receiver) = mailbox(limits(64));
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let sender = sender.clone();
            tokio::spawn(async move {
                for id in 0..EACH {
                    let mut next = message(number * EACH + id);
                    while let Err(refused) = sender.push(next) {
                        assert_eq!(refused.why, Refusal::Full);
                        next = refused.stanza;
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let mut next = [0; SENDERS];
    let mut total = 0;
    while total < SENDERS * EACH {
        let ready = tokio::time::timeout(Duration::from_secs(20), receiver.ready()).await;
        assert!(ready.is_ok(), "no wake-up after {total} stanzas");
        for id in ids(&mut receiver, 4_000).0 {
            let (number, place) = (id / EACH, id % EACH);
            assert_eq!(place, next[number]);
            next[number] += 1;
            total += 1;
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(sender.backlog(), (0, 0));
}

/// Senders against a seal: every stanza is drained, given back by the seal, or refused; never two of these, never none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stanza_has_one_fate_when_the_mailbox_is_sealed() {
    for _ in 0..200 {
        let (sender, mut receiver) = mailbox(limits(1_000));
        let pushing = tokio::spawn({
            let sender = sender.clone();
            async move { (0..300).filter(|id| sender.push(message(*id)).is_err()).count() }
        });
        let mut drained = 0;
        for _ in 0..3 {
            let mut batch = Batch::new();
            receiver.drain(&mut batch, 10_000);
            drained += batch.len();
            tokio::task::yield_now().await;
        }
        drop(receiver);
        let back = sender.seal().len();
        let refused = pushing.await.unwrap();
        assert_eq!(drained + back + refused, 300);
    }
}
