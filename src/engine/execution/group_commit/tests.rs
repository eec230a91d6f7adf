//! The queue without a database: what goes when, and with whom.

#![allow(clippy::unwrap_used)]

use super::limits::Limits;
use super::queue::Ticket;
use super::test_queue::{Bench, create, find, keys, lock, points, update};
use crate::engine::sql::batch::Kind;

#[tokio::test]
async fn a_lone_statement_runs_at_once_and_those_behind_it_share_a_batch() {
    let bench = Bench::new(Limits::default());
    let (_permit, slot) = bench.busy();
    let _waiters: Vec<_> = ["b", "a", "c"].map(create).map(|one| bench.queue_up(one)).into();
    assert!(bench.slot().is_none());
    drop(slot);
    let slot = bench.slot().unwrap();
    assert_eq!(bench.next(), ["b", "a", "c"]);
    drop(slot);
    assert!(bench.slot().is_none());
    assert!(matches!(bench.enter(create("d")), Ticket::Single(..)));
}

#[tokio::test]
async fn statements_about_one_key_keep_their_order() {
    let bench = Bench::new(Limits::default());
    let busy = bench.busy();
    let written = ["1", "2"].map(|point| bench.queue_up(update("k", point)));
    let _read = bench.queue_up(find("k"));
    let _last = bench.queue_up(update("k", "3"));
    let _other = bench.queue_up(update("other", "1"));
    let first = bench.queue.next_batch().unwrap();
    assert_eq!(keys(&first), ["k", "other"]);
    assert!(bench.queue.next_batch().is_none());
    drop(first);
    assert_eq!(points(bench.queue.next_batch()), ["2"]);
    assert_eq!(points(bench.queue.next_batch()), [r#"Find("k")"#]);
    assert_eq!(points(bench.queue.next_batch()), ["3"]);
    drop((written, busy));
}

#[tokio::test]
async fn reads_of_one_key_share_a_batch_and_inserts_do_not() {
    let bench = Bench::new(Limits::default());
    let _busy = bench.busy();
    let _reads = [(); 3].map(|()| bench.queue_up(find("k")));
    assert_eq!(bench.next(), ["k", "k", "k"]);
    let _inserts = [(); 2].map(|()| bench.queue_up(create("new")));
    let first = bench.queue.next_batch().unwrap();
    assert_eq!(keys(&first), ["new"]);
    assert!(bench.queue.next_batch().is_none());
}

#[tokio::test]
async fn those_who_compete_share_a_batch_until_it_is_sent() {
    let bench = Bench::new(Limits::default());
    let _busy = bench.busy();
    let _first = [(); 2].map(|()| bench.queue_up(lock("k")));
    let sent = bench.queue.next_batch().unwrap();
    assert_eq!(keys(&sent), ["k", "k"]);
    let _late = bench.queue_up(lock("k"));
    assert!(bench.queue.next_batch().is_none());
    drop(sent);
    assert_eq!(bench.next(), ["k"]);
}

#[tokio::test]
async fn reads_pass_a_write_that_waits_for_its_row_and_writes_do_not() {
    let bench = Bench::new(Limits::default());
    let _busy = bench.busy();
    let _first = bench.queue_up(update("k", "1"));
    let mut batch = bench.queue.next_batch().unwrap();
    let wait = batch.statements.pop().unwrap().permit.unwrap().wait_for_row();
    let _second = bench.queue_up(update("k", "2"));
    let _third = bench.queue_up(update("k", "3"));
    let _read = bench.queue_up(find("k"));
    assert_eq!(points(bench.queue.next_batch()), [r#"Find("k")"#]);
    assert!(bench.queue.next_batch().is_none());
    drop(wait);
    let _fourth = bench.queue_up(update("k", "4"));
    for point in ["2", "3", "4"] {
        assert_eq!(points(bench.queue.next_batch()), [point]);
    }
}

#[tokio::test]
async fn a_kind_whose_first_statement_has_waited_longest_goes_first() {
    let bench = Bench::new(Limits::default());
    let _busy = bench.busy();
    let _waiters = [find("a"), create("b"), find("c"), update("d", "1"), create("e")]
        .map(|one| bench.queue_up(one));
    assert_eq!(bench.next(), ["a", "c"]);
    assert_eq!(bench.next(), ["b", "e"]);
    assert_eq!(bench.next(), ["d"]);
}

#[tokio::test]
async fn a_batch_keeps_its_limits_of_rows_and_bytes() {
    let limits = Limits { max_batch_rows: 3, max_batch_bytes: 10, ..Limits::default() };
    let bench = Bench::new(limits);
    let (_permit, slot) = bench.busy();
    let names = ["1", "2", "3", "4", "long key 5", "6", "a key that is too long alone", "7"];
    let _waiters = names.map(|name| bench.queue_up(find(name)));
    let batches = [(); 5].map(|()| bench.next());
    let expected: [&[&str]; 5] =
        [&["1", "2", "3"], &["4"], &["long key 5"], &["6"], &["a key that is too long alone"]];
    assert_eq!(
        batches,
        expected.map(|batch| batch.iter().map(ToString::to_string).collect::<Vec<_>>())
    );
    drop(slot);
}

#[tokio::test]
async fn what_the_server_answers_counts_as_bytes_too() {
    let bench = Bench::new(Limits { max_batch_bytes: 100, ..Limits::default() });
    let _busy = bench.busy();
    bench.queue.answered(Kind::Find, 150, 3);
    let _waiters = ["1", "2", "3"].map(|name| bench.queue_up(find(name)));
    assert_eq!(bench.next(), ["1"]);
    bench.queue.answered(Kind::Find, 0, 1);
    assert_eq!(bench.next(), ["2", "3"]);
}

#[tokio::test]
async fn a_failure_halves_the_next_batch_and_each_success_doubles_it() {
    let bench = Bench::new(Limits { max_batch_rows: 8, ..Limits::default() });
    let _busy = bench.busy();
    let names: Vec<String> = (0..24).map(|number| number.to_string()).collect();
    let _waiters: Vec<_> = names.iter().map(|name| bench.queue_up(find(name))).collect();
    assert_eq!(bench.next().len(), 8);
    bench.queue.failed(Kind::Find, 8);
    bench.queue.failed(Kind::Find, 4);
    assert_eq!(bench.next().len(), 2);
    bench.queue.ran_single(Kind::Find);
    assert_eq!(bench.next().len(), 4);
    bench.queue.answered(Kind::Find, 0, 4);
    bench.queue.answered(Kind::Find, 0, 8);
    assert_eq!(bench.next().len(), 8);
}

#[tokio::test]
async fn a_caller_that_has_gone_is_left_out_and_gives_its_permit_back() {
    let bench = Bench::new(Limits::default());
    let _busy = bench.busy();
    let gone = bench.queue_up(update("k", "1"));
    let _next = bench.queue_up(update("k", "2"));
    drop(gone);
    assert!(bench.queue.next_batch().is_none());
    assert_eq!(points(bench.queue.next_batch()), ["2"]);
}

#[tokio::test]
async fn a_further_batch_begins_only_if_it_is_large() {
    let limits = Limits { min_further_batch: 4, max_in_flight: 2, ..Limits::default() };
    let bench = Bench::new(limits);
    let _busy = bench.busy();
    let mut waiters: Vec<_> = ["1", "2", "3"].map(|name| bench.queue_up(find(name))).into();
    assert!(bench.slot().is_none());
    waiters.push(bench.queue_up(find("4")));
    let _second = bench.slot().unwrap();
    waiters.push(bench.queue_up(find("5")));
    assert!(bench.slot().is_none());
}

#[tokio::test]
async fn many_reads_go_in_two_batches_at_once() {
    let bench = Bench::new(Limits { min_further_reads: 2, ..Limits::default() });
    let (_permit, slot) = bench.busy();
    let submission = bench.queue.begin_submission();
    let _waiters = ["1", "2", "3", "4", "5"].map(|name| bench.queue_up(find(name)));
    drop((slot, submission));
    let first = bench.slot().unwrap();
    assert_eq!(bench.next(), ["1", "2", "3"]);
    let _second = bench.slot().unwrap();
    assert_eq!(bench.next(), ["4", "5"]);
    let _later = ["6", "7", "8", "9"].map(|name| bench.queue_up(find(name)));
    assert!(bench.slot().is_none());
    drop(first);
    let _third = bench.slot().unwrap();
    assert_eq!(bench.next(), ["6", "7", "8", "9"]);
}

#[tokio::test]
async fn few_reads_and_all_writes_go_in_one_batch() {
    let bench = Bench::new(Limits { min_further_reads: 3, ..Limits::default() });
    let (_permit, slot) = bench.busy();
    let submission = bench.queue.begin_submission();
    let _reads = ["1", "2", "3", "4", "5"].map(|name| bench.queue_up(find(name)));
    let _writes = ["a", "b", "c", "d", "e", "f"].map(|name| bench.queue_up(create(name)));
    drop((slot, submission));
    let _slot = bench.slot().unwrap();
    assert_eq!(bench.next(), ["1", "2", "3", "4", "5"]);
    assert_eq!(bench.next(), ["a", "b", "c", "d", "e", "f"]);
    assert!(bench.slot().is_none());
}

#[tokio::test]
async fn statements_that_fill_a_batch_with_their_bytes_begin_a_third() {
    let limits = Limits { max_batch_bytes: 10, max_long_in_flight: 3, ..Limits::default() };
    let bench = Bench::new(limits);
    let _busy = bench.busy();
    let long = |number: u8| bench.queue_up(create(&format!("a long key {number}")));
    let _first = long(1);
    let _second_slot = bench.slot().unwrap();
    let _second = long(2);
    let _third_slot = bench.slot().unwrap();
    let _third = long(3);
    assert!(bench.slot().is_none());
}

#[tokio::test]
async fn nothing_goes_before_a_submission_ends() {
    let bench = Bench::new(Limits::default());
    let (permit, slot) = bench.busy();
    let submission = bench.queue.begin_submission();
    let _first = bench.queue_up(find("1"));
    drop((permit, slot));
    let _second = bench.queue_up(find("2"));
    assert!(bench.slot().is_none());
    let longer = bench.queue.begin_submission();
    drop(submission);
    let _slot = bench.slot().unwrap();
    assert_eq!(bench.next(), ["1", "2"]);
    drop(longer);
    assert!(bench.slot().is_none());
}

#[tokio::test]
async fn those_without_room_follow_in_their_order() {
    let bench = Bench::new(Limits { max_queued: 2, ..Limits::default() });
    let (_permit, slot) = bench.busy();
    let _waiters = ["1", "2", "3", "4", "5"].map(|name| bench.queue_up(find(name)));
    assert_eq!(bench.next(), ["1", "2"]);
    assert_eq!(bench.next(), ["3", "4"]);
    assert_eq!(bench.next(), ["5"]);
    drop(slot);
    assert!(matches!(bench.enter(find("6")), Ticket::Single(..)));
}

#[tokio::test]
async fn all_that_wait_are_given_up_together() {
    let bench = Bench::new(Limits { max_queued: 4, ..Limits::default() });
    let (_permit, slot) = bench.busy();
    let behind_its_key = update("k", "2");
    let _waiters = [update("k", "1"), behind_its_key, find("1"), create("2"), find("outside")]
        .map(|one| bench.queue_up(one));
    let given_up = bench.queue.give_up();
    assert_eq!(given_up.len(), 5);
    drop(given_up);
    assert!(bench.queue.next_batch().is_none());
    drop(slot);
    assert!(matches!(bench.enter(update("k", "3")), Ticket::Single(..)));
}

#[tokio::test]
async fn a_slot_that_was_never_used_begins_no_other() {
    let bench = Bench::new(Limits::default());
    let (_permit, slot) = bench.busy();
    let _waiting = bench.queue_up(find("1"));
    drop(slot);
    let unused = bench.launched.lock().unwrap().pop().unwrap();
    drop(unused);
    assert!(bench.slot().is_none());
    let _next = bench.queue_up(find("2"));
    assert!(bench.slot().is_some());
}
