//! A request without stages, whose work has effects outside of the database: a model of its lifetime.
//!
//! Three callers send one request. Each of their handlers does its work once, in one step that the engine
//! does not see, and then finishes the key. A client may hang up at any time, while its handler goes on; a
//! process may crash, or stall for longer than the lease and come back; a handler may outlive `maxDuration`.
//! What the engine concludes from a row is the engine's own: [`request::state_of`] and [`LeaseKnowledge`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use medusa_idempotency_key::engine::key::{FINISHED, IdempotencyKey, STARTED};
use medusa_idempotency_key::engine::protocol::lease::{Beginning, LeaseKnowledge};
use medusa_idempotency_key::engine::protocol::request::{self, RequestState};
use medusa_idempotency_key::engine::protocol::statement::{Row, RowLocation, Token};

const CALLERS: usize = 3;

/// What is checked: the protocol, or a broken one.
#[derive(Clone, Copy)]
struct Model {
    /// `onInterrupted: "refuse"`.
    refuses: bool,
    /// The lease ends with the client's connection, while the handler goes on.
    ends_with_connection: bool,
    /// Whoever takes a request over does not look whether the row is still the one that was judged.
    takes_over_blindly: bool,
}

const PROTOCOL: Model =
    Model { refuses: false, ends_with_connection: false, takes_over_blindly: false };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    /// Its client may send the request, again or for the first time.
    Idle,
    /// It was told that the request may be taken over.
    TakingOver(How),
    /// Its handler is at work.
    Working,
    /// The work has had its effect.
    Effected,
    /// It was told that another caller has taken the request over.
    Lost,
    /// The request has its answer.
    Done,
}

/// [`Beginning`], which has no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum How {
    Released,
    Interrupted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Caller {
    phase: Phase,
    /// The row's token is its own.
    holds: bool,
    /// The row is still the one that it was judged by.
    saw_this: bool,
    /// Its event loop is blocked, so that nobody renews its lease.
    stalled: bool,
    /// Its client has hung up.
    hung_up: bool,
    /// It was told that the request was interrupted before.
    is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Term {
    Ended,
    Live,
    RanOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    finished: bool,
    term: Term,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    row: Option<Stored>,
    effects: u8,
    /// A lease ran out whose holder was, or may have been, at work.
    interrupted: bool,
    callers: [Caller; CALLERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Initialize,
    TakeOver,
    Work,
    Finish,
    /// The handler fails, and ends its response.
    Fail,
    HangUp,
    Stall,
    Recover,
    Crash,
    /// The handler is still at work after `maxDuration`.
    Overdue,
    LeaseRunsOut,
    GiveUp,
    /// Somebody has looked at a request that was refused: it has had no effect.
    ReleaseByHand,
    /// … or it has.
    FinishByHand,
}

const STEPS: [Step; 14] = [
    Step::Initialize,
    Step::TakeOver,
    Step::Work,
    Step::Finish,
    Step::Fail,
    Step::HangUp,
    Step::Stall,
    Step::Recover,
    Step::Crash,
    Step::Overdue,
    Step::LeaseRunsOut,
    Step::GiveUp,
    Step::ReleaseByHand,
    Step::FinishByHand,
];

/// What leads to an answer without luck.
const PATIENCE: [Step; 9] = [
    Step::Initialize,
    Step::TakeOver,
    Step::Work,
    Step::Finish,
    Step::Recover,
    Step::LeaseRunsOut,
    Step::GiveUp,
    Step::ReleaseByHand,
    Step::FinishByHand,
];

const NEW_CALLER: Caller = Caller {
    phase: Phase::Idle,
    holds: false,
    saw_this: false,
    stalled: false,
    hung_up: false,
    is_told: false,
};

impl Stored {
    fn answered(self) -> Row {
        let recovery_point = if self.finished { FINISHED } else { STARTED }.to_owned();
        Row {
            key: IdempotencyKey { recovery_point, ..IdempotencyKey::default() },
            location: RowLocation(String::new()),
            token: self.token(),
            won: false,
            live: self.term == Term::Live,
            same: true,
        }
    }

    fn token(self) -> Token {
        Token(if self.term == Term::Ended { "x1" } else { "01" }.to_owned())
    }
}

impl Caller {
    /// What the engine lets it finish by; only the holder may.
    fn may_finish(&self, row: Stored) -> bool {
        let own = if self.holds { row.token() } else { Token("00".to_owned()) };
        let knowledge = LeaseKnowledge { tokens: vec![own], ..LeaseKnowledge::default() };
        let Some(fence) = knowledge.strict_fence(Duration::ZERO) else { return false };
        let point = fence.recovery_point.as_deref();
        match fence.tokens.contains(&row.token()) {
            true => !row.finished || point == Some(FINISHED),
            false => row.term != Term::Live && point == Some(STARTED),
        }
    }

    fn is_at_work(&self) -> bool {
        matches!(self.phase, Phase::Working | Phase::Effected)
    }
}

impl State {
    const FIRST: Self =
        Self { row: None, effects: 0, interrupted: false, callers: [NEW_CALLER; CALLERS] };

    /// Writes the row; nobody's token is the row's any more but the writer's.
    fn write(&mut self, row: Stored, writer: Option<usize>) {
        self.row = Some(row);
        for (index, caller) in self.callers.iter_mut().enumerate() {
            caller.holds = writer == Some(index);
            caller.saw_this = false;
        }
    }

    /// The state after a step, if it can be taken.
    fn after(mut self, model: &Model, who: usize, step: Step) -> Option<State> {
        let caller = self.callers[who];
        let unfinished = self.row.filter(|row| !row.finished);
        // Who stalls does nothing but come back or die.
        if caller.stalled && !matches!(step, Step::Recover | Step::Crash | Step::LeaseRunsOut) {
            return None;
        }
        match (step, caller.phase) {
            (Step::Initialize, Phase::Idle) => self.initialize(model, who)?,
            (Step::TakeOver, Phase::TakingOver(_)) => {
                let free = unfinished.filter(|row| row.term != Term::Live);
                if free.is_some() && (caller.saw_this || model.takes_over_blindly) {
                    self.write(Stored { finished: false, term: Term::Live }, Some(who));
                    self.callers[who].phase = Phase::Working;
                    self.callers[who].is_told = caller.phase == Phase::TakingOver(How::Interrupted);
                } else {
                    self.callers[who].phase = Phase::Idle;
                }
            }
            (Step::Work, Phase::Working) => {
                // More than two tell nothing new.
                self.effects = 2.min(self.effects + 1);
                self.callers[who].phase = Phase::Effected;
            }
            (Step::Finish, Phase::Effected) => {
                if caller.may_finish(self.row?) {
                    self.write(Stored { finished: true, term: Term::Ended }, Some(who));
                    self.callers[who].phase = Phase::Done;
                } else {
                    self.callers[who].phase = Phase::Lost;
                }
            }
            (Step::Fail, Phase::Working) => {
                self.release(who);
                self.callers[who] = NEW_CALLER;
            }
            (Step::HangUp, _) if caller.is_at_work() && !caller.hung_up => {
                self.callers[who].hung_up = true;
                if model.ends_with_connection {
                    self.release(who);
                }
            }
            (Step::Stall, _) if caller.is_at_work() => self.callers[who].stalled = true,
            (Step::Recover, _) if caller.stalled => self.callers[who].stalled = false,
            (Step::Crash, _) if caller.is_at_work() => self.callers[who] = NEW_CALLER,
            (Step::Overdue, _) if caller.is_at_work() && caller.holds => {
                let row = unfinished.filter(|row| row.term == Term::Live)?;
                self.write(Stored { term: Term::RanOut, ..row }, Some(who));
                self.interrupted = true;
            }
            (Step::LeaseRunsOut, _) if who == 0 => {
                let row = unfinished.filter(|row| row.term == Term::Live)?;
                if self.callers.iter().any(|caller| caller.holds && !caller.stalled) {
                    return None;
                }
                self.row = Some(Stored { term: Term::RanOut, ..row });
                self.interrupted = true;
            }
            (Step::GiveUp, Phase::Lost) => self.callers[who] = NEW_CALLER,
            (Step::ReleaseByHand | Step::FinishByHand, _) if who == 0 && model.refuses => {
                unfinished.filter(|row| row.term == Term::RanOut)?;
                // Whoever looks makes sure that nobody is at work any more.
                let at_work = self.callers.iter().any(Caller::is_at_work);
                if at_work || (step == Step::FinishByHand) != (self.effects > 0) {
                    return None;
                }
                let finished = step == Step::FinishByHand;
                self.write(Stored { finished, term: Term::Ended }, None);
            }
            _ => return None,
        }
        self.callers.sort_unstable();
        Some(self)
    }

    fn initialize(&mut self, model: &Model, who: usize) -> Option<()> {
        let Some(row) = self.row else {
            self.write(Stored { finished: false, term: Term::Live }, Some(who));
            self.callers[who].phase = Phase::Working;
            return Some(());
        };
        let caller = &mut self.callers[who];
        caller.saw_this = true;
        match request::state_of(&row.answered()) {
            RequestState::Finished => caller.phase = Phase::Done,
            RequestState::Abandoned(Beginning::Interrupted) if model.refuses => return None,
            RequestState::Abandoned(Beginning::Interrupted) => {
                caller.phase = Phase::TakingOver(How::Interrupted);
            }
            RequestState::Abandoned(_) => caller.phase = Phase::TakingOver(How::Released),
            RequestState::InProgress => return None,
            other => panic!("{other:?}"),
        }
        Some(())
    }

    /// Ends the lease of a caller, if it is its own.
    fn release(&mut self, who: usize) {
        let Caller { holds, is_told, .. } = self.callers[who];
        if let Some(row) = self.row.filter(|row| holds && !row.finished) {
            let term = if is_told { Term::RanOut } else { Term::Ended };
            self.write(Stored { term, ..row }, Some(who));
        }
    }

    /// What must never happen.
    fn violation(&self, next: &State, step: Step, model: &Model) -> Option<&'static str> {
        let told = |state: &State| state.callers.iter().filter(|caller| caller.is_told).count();
        let takes_over = step == Step::TakeOver && self.row != next.row;
        if takes_over && self.effects > 0 && told(next) == told(self) {
            return Some("the work may be done, and whoever begins it again is not told");
        }
        if next.effects > 1 && !next.interrupted {
            return Some("the work is done twice, though nobody was interrupted");
        }
        if next.effects > 1 && model.refuses {
            return Some("the work is done twice, though interrupted requests are refused");
        }
        let was_finished = self.row.is_some_and(|row| row.finished);
        if was_finished && self.row != next.row {
            return Some("a finished answer changes");
        }
        None
    }
}

/// Looks at every state, the nearest first: the number of states, or what must never happen and how it comes
/// to it, or a state from which somebody never gets an answer.
fn search(model: &Model) -> Result<usize, (&'static str, Vec<String>)> {
    let mut came_by: HashMap<State, Option<(State, Step)>> = HashMap::from([(State::FIRST, None)]);
    let mut open = VecDeque::from([State::FIRST]);
    let mut patient: HashMap<State, Vec<State>> = HashMap::new();
    while let Some(state) = open.pop_front() {
        for who in 0..CALLERS {
            for step in STEPS {
                let Some(next) = state.after(model, who, step) else { continue };
                if let Some(violation) = state.violation(&next, step, model) {
                    return Err((violation, trace(&came_by, state, format!("{step:?}: {next:?}"))));
                }
                if PATIENCE.contains(&step) {
                    patient.entry(next).or_default().push(state);
                }
                if let Entry::Vacant(new) = came_by.entry(next) {
                    new.insert(Some((state, step)));
                    open.push_back(next);
                }
            }
        }
    }
    let is_answered = |state: &State| state.callers.iter().all(|c| c.phase == Phase::Done);
    let mut hopeful: HashSet<State> = came_by.keys().copied().filter(is_answered).collect();
    let mut queue: Vec<State> = hopeful.iter().copied().collect();
    while let Some(state) = queue.pop() {
        let before = patient.get(&state).into_iter().flatten();
        queue.extend(before.copied().filter(|&before| hopeful.insert(before)));
    }
    match came_by.keys().find(|state| !hopeful.contains(state)) {
        Some(&state) => {
            Err(("somebody never gets an answer", trace(&came_by, state, String::new())))
        }
        None => Ok(came_by.len()),
    }
}

fn trace(
    came_by: &HashMap<State, Option<(State, Step)>>,
    mut state: State,
    last: String,
) -> Vec<String> {
    let mut steps = vec![last];
    while let Some(Some((before, step))) = came_by.get(&state) {
        steps.push(format!("{step:?}: {state:?}"));
        state = *before;
    }
    steps.reverse();
    steps
}

fn holds_for(model: &Model) {
    match search(model) {
        Ok(states) => {
            println!("{states} states");
            assert!(states > 100);
        }
        Err((violation, trace)) => panic!("{violation}:\n{}", trace.join("\n")),
    }
}

fn violation_of(model: &Model) -> &'static str {
    let (violation, trace) = search(model).expect_err("no counterexample");
    println!("{violation}:\n{}", trace.join("\n"));
    violation
}

#[test]
fn a_client_that_hangs_up_changes_nothing_for_its_handler() {
    holds_for(&PROTOCOL);
}

#[test]
fn interrupted_work_that_is_refused_is_done_once() {
    holds_for(&Model { refuses: true, ..PROTOCOL });
}

#[test]
fn a_lease_that_ends_with_the_connection_has_work_done_twice() {
    for refuses in [false, true] {
        let model = Model { refuses, ends_with_connection: true, ..PROTOCOL };
        assert_eq!(
            violation_of(&model),
            "the work may be done, and whoever begins it again is not told"
        );
    }
}

#[test]
fn to_take_over_another_row_than_was_judged_is_wrong() {
    let model = Model { takes_over_blindly: true, ..PROTOCOL };
    assert_eq!(
        violation_of(&model),
        "the work may be done, and whoever begins it again is not told"
    );
}
