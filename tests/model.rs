//! A model of the exactly-once protocol, looked at in every state that it can come to.
//!
//! Three callers send one request, of two stages: `started` → `paid` → `finished`. Between any two of
//! their steps a caller may stall for as long as it likes, while the others go on and leases run out.
//! What a statement does is modelled; what the engine concludes from its answer is the engine's own:
//! [`stage::decide`], [`request::state_of`] and [`LeaseKnowledge`].
//!
//! A request without stages has a model of its own, [`unstaged`].
//!
//! Not stateright: it cannot say "an answer can always still be reached", and brings a web server along.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use medusa_idempotency_key::engine::key::IdempotencyKey;
use medusa_idempotency_key::engine::protocol::lease::{Beginning, LeaseKnowledge};
use medusa_idempotency_key::engine::protocol::request;
use medusa_idempotency_key::engine::protocol::stage::{self, StageDecision};
use medusa_idempotency_key::engine::protocol::statement::{Row, RowLocation, Token};

#[path = "model/unstaged.rs"]
mod unstaged;

const POINTS: [&str; 3] = ["started", "paid", "finished"];
const FINISHED: usize = 2;

/// What is checked: a protocol, or a broken one.
#[derive(Clone, Copy)]
struct Model {
    callers: usize,
    /// Callers say which recovery point a stage is for.
    says_point: bool,
    /// Stages run in their callers' transactions, whose end the engine does not learn.
    bound: bool,
    /// Callers use `lock()`, and finish by `update()` too.
    locks_and_updates: bool,
    decide: fn(&LeaseKnowledge, &Row, Option<&str>) -> StageDecision,
    /// Whether an update is fenced.
    fenced: bool,
    /// Whether a point counts as known as soon as it is written.
    trusts_writes: bool,
    /// How the key of a new request is inserted.
    inserts: Inserts,
    /// Whether a key that somebody else has inserted meanwhile counts as one's own.
    takes_conflict_for_new: bool,
}

/// How the key of a new request is inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inserts {
    /// In a transaction of its own, before any stage.
    First,
    /// In the transaction of the first stage.
    WithStage,
    /// Some callers so, some so.
    Either,
}

const PROTOCOL: Model = Model {
    callers: 3,
    says_point: false,
    bound: false,
    locks_and_updates: false,
    decide: stage::decide,
    fenced: true,
    trusts_writes: false,
    inserts: Inserts::First,
    takes_conflict_for_new: false,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its client may send the request, again or for the first time.
    Idle,
    /// It has seen that nobody works on the request.
    TakingOver,
    /// It is about to run its next stage.
    Ready,
    /// As `Ready`, in a repetition that the engine makes by itself.
    Repeating,
    /// It holds the row's lock and works.
    Working,
    /// It has recorded what the work came to, and is about to commit.
    Recorded,
    /// It was told an error.
    Failed,
    /// Its client has the answer.
    Done,
}

const PHASES: [Phase; 8] = [
    Phase::Idle,
    Phase::TakingOver,
    Phase::Ready,
    Phase::Repeating,
    Phase::Working,
    Phase::Recorded,
    Phase::Failed,
    Phase::Done,
];

#[derive(Clone, Debug)]
struct Caller {
    phase: Phase,
    /// The stage that its next work is for: where it was told that the key stands.
    at: usize,
    knowledge: LeaseKnowledge,
    /// What it knew before its transaction.
    before: Option<String>,
    /// A release of its lease is under way, and comes at any time or never.
    releases: bool,
    /// So is one of an attempt that it has given up.
    ghost: Option<Vec<Token>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    Ended,
    Live,
    RanOut,
}

const TERMS: [Term; 3] = [Term::Ended, Term::Live, Term::RanOut];

#[derive(Clone, Debug, PartialEq)]
struct Stored {
    point: usize,
    term: Term,
    token: Token,
}

#[derive(Clone, Debug)]
struct State {
    row: Option<Stored>,
    /// What the transaction that holds the row's lock has written.
    pending: Option<Stored>,
    /// How often each stage's effect is committed.
    effects: [usize; 2],
    callers: Vec<Caller>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LeaseRunsOut,
    Initialize,
    InsertWithStage,
    TakeOver,
    BeginStage,
    WorkFails,
    Record,
    Commit,
    CommitFails,
    CommitFailsAndIsRepeated,
    CommitIsNotHeardOf,
    TryAgain,
    GiveUp,
    GiveUpAndRelease,
    BeginAgainInTheSameFlow,
    Release,
    ReleaseIsNotHeardOf,
    GhostReleases,
    Renew,
    RenewalIsNotHeardOf,
    FinishByUpdate,
    UpdateIsNotHeardOf,
    Lock,
    Crash,
}

const STEPS: [Step; 23] = [
    Step::Initialize,
    Step::InsertWithStage,
    Step::TakeOver,
    Step::BeginStage,
    Step::WorkFails,
    Step::Record,
    Step::Commit,
    Step::CommitFails,
    Step::CommitFailsAndIsRepeated,
    Step::CommitIsNotHeardOf,
    Step::TryAgain,
    Step::GiveUp,
    Step::GiveUpAndRelease,
    Step::BeginAgainInTheSameFlow,
    Step::Release,
    Step::ReleaseIsNotHeardOf,
    Step::GhostReleases,
    Step::Renew,
    Step::RenewalIsNotHeardOf,
    Step::FinishByUpdate,
    Step::UpdateIsNotHeardOf,
    Step::Lock,
    Step::Crash,
];

/// What leads to an answer without luck: time, and clients that try again.
const PATIENCE: [Step; 9] = [
    Step::LeaseRunsOut,
    Step::Initialize,
    Step::InsertWithStage,
    Step::TakeOver,
    Step::BeginStage,
    Step::Record,
    Step::Commit,
    Step::GiveUp,
    Step::TryAgain,
];

impl Stored {
    fn new(point: usize, term: Term) -> Self {
        Self { point, term, token: token("new") }
    }

    fn answered(&self) -> Row {
        Row {
            key: IdempotencyKey {
                recovery_point: POINTS[self.point].to_owned(),
                ..IdempotencyKey::default()
            },
            location: RowLocation(String::new()),
            token: self.token.clone(),
            won: false,
            live: self.term == Term::Live,
            same: true,
        }
    }
}

fn token(name: &str) -> Token {
    Token(name.to_owned())
}

fn point_of(name: &Option<String>) -> usize {
    name.as_ref().map_or(3, |name| POINTS.iter().position(|point| point == name).unwrap())
}

impl Caller {
    fn new() -> Self {
        Self {
            phase: Phase::Idle,
            at: 0,
            knowledge: LeaseKnowledge::default(),
            before: None,
            releases: false,
            ghost: None,
        }
    }

    /// Whether a step is one that the caller can think of: the others need no look.
    fn may(&self, step: Step) -> bool {
        use Phase::{Done, Failed, Idle, Ready, Recorded, Repeating, TakingOver, Working};
        match step {
            Step::LeaseRunsOut => true,
            Step::Release | Step::ReleaseIsNotHeardOf => self.releases,
            Step::GhostReleases => self.ghost.is_some(),
            Step::Crash => self.phase != Done,
            Step::Initialize | Step::InsertWithStage => self.phase == Idle,
            Step::TakeOver => self.phase == TakingOver,
            Step::BeginStage => matches!(self.phase, Ready | Repeating),
            Step::WorkFails | Step::Record => self.phase == Working,
            Step::Commit
            | Step::CommitFails
            | Step::CommitFailsAndIsRepeated
            | Step::CommitIsNotHeardOf => self.phase == Recorded,
            Step::TryAgain
            | Step::GiveUp
            | Step::GiveUpAndRelease
            | Step::BeginAgainInTheSameFlow => self.phase == Failed,
            Step::Renew | Step::RenewalIsNotHeardOf => {
                matches!(self.phase, Ready | Repeating | Failed)
            }
            Step::FinishByUpdate | Step::UpdateIsNotHeardOf => matches!(self.phase, Ready | Failed),
            Step::Lock => self.phase == Ready,
        }
    }

    fn has_lock(&self) -> bool {
        matches!(self.phase, Phase::Working | Phase::Recorded)
    }

    /// It is told where the key stands.
    fn told(&mut self, row: &Stored) {
        self.at = row.point;
        self.phase = if row.point == FINISHED { Phase::Done } else { Phase::Ready };
    }

    fn begins(&mut self, row: &Stored) {
        self.knowledge.began(&row.answered(), Beginning::New);
        self.knowledge.settle();
        self.told(row);
    }

    fn fails(&mut self, model: &Model) {
        if !model.bound {
            self.knowledge.settled.clone_from(&self.before);
        }
        self.phase = Phase::Failed;
    }

    fn gives_up(&mut self) {
        *self = Self { ghost: self.ghost.take(), ..Self::new() };
    }
}

/// Whether a token of the attempt's is the row's.
fn holds(tokens: &[Token], row: &Stored) -> bool {
    tokens.contains(&row.token)
}

impl State {
    fn first(model: &Model) -> Self {
        Self {
            row: None,
            pending: None,
            effects: [0, 0],
            callers: vec![Caller::new(); model.callers],
        }
    }

    fn is_locked(&self) -> bool {
        self.callers.iter().any(Caller::has_lock)
    }

    /// The state after a step, if it can be taken.
    fn after(&self, model: &Model, who: usize, step: Step) -> Option<State> {
        if !self.callers[who].may(step) {
            return None;
        }
        let mut next = self.clone();
        let locked = self.is_locked();
        let row = &mut next.row;
        if step == Step::LeaseRunsOut {
            let row = row.as_mut().filter(|row| row.term == Term::Live)?;
            row.term = Term::RanOut;
            return Some(next);
        }
        let caller = &mut next.callers[who];
        match (step, caller.phase) {
            (Step::Initialize, Phase::Idle) => match row {
                // Whoever else inserts the key waits for the end of the transaction that has.
                None if locked || model.inserts == Inserts::WithStage => return None,
                None => {
                    let new = row.insert(Stored::new(0, Term::Live));
                    caller.begins(new);
                }
                Some(row) => match request::state_of(&row.answered()) {
                    request::RequestState::Finished => caller.told(row),
                    request::RequestState::Abandoned(_) => caller.phase = Phase::TakingOver,
                    request::RequestState::InProgress => return None,
                    other => panic!("{other:?}"),
                },
            },
            (Step::InsertWithStage, Phase::Idle) if model.inserts != Inserts::First && !locked => {
                if row.is_some() && !model.takes_conflict_for_new {
                    return None;
                }
                let new = Stored::new(0, Term::Live);
                // Whatever becomes of the transaction, its caller believes the key to be there.
                caller.before = Some(POINTS[0].to_owned());
                caller.knowledge.began(&new.answered(), Beginning::New);
                caller.at = 0;
                caller.phase = Phase::Working;
                next.pending = Some(new);
            }
            (Step::TakeOver, Phase::TakingOver) => {
                let row = row.as_mut()?;
                if locked || row.point == FINISHED || row.term == Term::Live {
                    caller.phase = Phase::Idle;
                } else {
                    *row = Stored::new(row.point, Term::Live);
                    caller.begins(row);
                }
            }
            (Step::BeginStage, Phase::Ready | Phase::Repeating) => {
                if caller.phase == Phase::Ready {
                    caller.before.clone_from(&caller.knowledge.settled);
                }
                let Some(row) = row else {
                    // There is no such key, or it is not committed.
                    caller.fails(model);
                    return Some(next);
                };
                let answered = row.answered();
                let point = model.says_point.then_some(POINTS[caller.at]);
                match (model.decide)(&caller.knowledge, &answered, point) {
                    _ if locked && row.point == FINISHED => caller.told(row),
                    _ if locked => caller.fails(model),
                    StageDecision::Run => {
                        caller.knowledge.claimed(&answered);
                        caller.phase = Phase::Working;
                    }
                    StageDecision::Pass => {
                        caller.knowledge.saw(&answered);
                        if !model.bound {
                            caller.knowledge.settle();
                        }
                        caller.told(row);
                    }
                    StageDecision::InUse | StageDecision::LeaseLost => caller.fails(model),
                }
            }
            (Step::WorkFails, Phase::Working) => {
                next.pending = None;
                caller.fails(model);
                caller.releases = true;
            }
            (Step::Record, Phase::Working) => {
                let reached = caller.at + 1;
                let term = if reached == FINISHED { Term::Ended } else { Term::Live };
                let written = Stored::new(reached, term);
                caller.knowledge.wrote(&written.answered());
                if model.trusts_writes {
                    caller.knowledge.settle();
                }
                caller.phase = Phase::Recorded;
                next.pending = Some(written);
            }
            (Step::Commit | Step::CommitIsNotHeardOf, Phase::Recorded) => {
                next.effects[caller.at] += 1;
                let committed = row.insert(next.pending.take()?);
                if step == Step::Commit {
                    if !model.bound {
                        caller.knowledge.settle();
                    }
                    caller.told(committed);
                } else if model.bound && (model.locks_and_updates || !model.says_point) {
                    // Its caller alone knows that it does not know, and has to begin again.
                    caller.gives_up();
                } else {
                    caller.fails(model);
                    caller.releases = true;
                }
            }
            (Step::CommitFails, Phase::Recorded) => {
                next.pending = None;
                caller.fails(model);
                caller.releases = true;
            }
            (Step::CommitFailsAndIsRepeated, Phase::Recorded) if !model.bound => {
                next.pending = None;
                caller.phase = match row {
                    Some(_) => Phase::Repeating,
                    // The insert is repeated too, and may find the key of somebody else.
                    None => {
                        caller.knowledge.settled.clone_from(&caller.before);
                        Phase::Idle
                    }
                };
            }
            (Step::TryAgain, Phase::Failed) => caller.phase = Phase::Ready,
            (Step::GiveUp, Phase::Failed) => caller.gives_up(),
            (Step::GiveUpAndRelease, Phase::Failed) => {
                caller.ghost = Some(caller.knowledge.tokens.clone());
                caller.gives_up();
            }
            (Step::BeginAgainInTheSameFlow, Phase::Failed) => caller.phase = Phase::Idle,
            (Step::Release | Step::ReleaseIsNotHeardOf, _) if caller.releases && !locked => {
                caller.releases = false;
                let row = row.as_mut()?;
                if holds(&caller.knowledge.tokens, row)
                    && row.point != FINISHED
                    && row.term != Term::Ended
                {
                    *row = Stored::new(row.point, Term::Ended);
                    if step == Step::Release {
                        caller.knowledge.released(&row.answered());
                    }
                }
            }
            (Step::GhostReleases, _) if caller.ghost.is_some() && !locked => {
                let tokens = caller.ghost.take()?;
                let row = row.as_mut()?;
                if holds(&tokens, row) && row.point != FINISHED && row.term != Term::Ended {
                    *row = Stored::new(row.point, Term::Ended);
                }
            }
            (
                Step::Renew | Step::RenewalIsNotHeardOf,
                Phase::Ready | Phase::Repeating | Phase::Failed,
            ) if !locked => {
                let row = row.as_mut().filter(|row| holds(&caller.knowledge.tokens, row))?;
                if row.point == FINISHED || row.term == Term::Ended {
                    return None;
                }
                *row = Stored::new(row.point, Term::Live);
                if step == Step::Renew {
                    caller.knowledge.renewed(&row.answered());
                }
            }
            (Step::FinishByUpdate | Step::UpdateIsNotHeardOf, Phase::Ready | Phase::Failed)
                if model.locks_and_updates && !locked =>
            {
                let row = row.as_mut()?;
                let fence = caller.knowledge.fence(Duration::ZERO)?;
                let known = fence.recovery_point.as_deref() == Some(POINTS[row.point]);
                let may = match holds(&fence.tokens, row) {
                    true => row.point != FINISHED || known || fence.recovery_point.is_none(),
                    false => row.term != Term::Live && known,
                };
                if model.fenced && !may {
                    caller.phase = Phase::Failed;
                } else {
                    *row = Stored::new(FINISHED, Term::Ended);
                    if step == Step::FinishByUpdate {
                        caller.told(row);
                    } else {
                        caller.phase = Phase::Failed;
                    }
                }
            }
            (Step::Lock, Phase::Ready) if model.locks_and_updates && !locked => {
                let row = row.as_mut()?;
                // `lock()` holds for a second, a lease for ten: so it may take any lease over.
                *row = Stored::new(
                    row.point,
                    if row.point == FINISHED { Term::Ended } else { Term::Live },
                );
                caller.knowledge.wrote(&row.answered());
                caller.knowledge.settle();
                caller.told(row);
            }
            (Step::Crash, phase) if phase != Phase::Done => {
                if caller.has_lock() {
                    next.pending = None;
                }
                caller.gives_up();
            }
            _ => return None,
        }
        Some(next)
    }

    /// What must never happen.
    fn violation(&self, next: &State, step: Step) -> Option<&'static str> {
        let is_finished =
            |state: &State| state.row.as_ref().is_some_and(|row| row.point == FINISHED);
        let point = next.row.as_ref().map_or(0, |row| row.point);
        if next.effects.iter().any(|count| *count > 1) {
            return Some("the effect of a stage is committed twice");
        }
        // A lock changes no more than the time of it.
        if is_finished(self) && self.row != next.row && step != Step::Lock {
            return Some("a finished answer changes");
        }
        if point == 1 && next.effects != [1, 0] {
            return Some("a stage is passed whose effect is not committed");
        }
        None
    }

    /// The state in a few bytes. Of a token only this matters: is it the row's, or that of the version
    /// that is about to be committed, or one that will not come again? And callers are alike.
    fn code(&self) -> Code {
        let bits = |tokens: &[Token]| {
            let has = |row: &Option<Stored>| row.as_ref().is_some_and(|row| holds(tokens, row));
            let dead = !tokens.is_empty();
            u8::from(has(&self.row)) | u8::from(has(&self.pending)) << 1 | u8::from(dead) << 2
        };
        let row = |row: &Option<Stored>| {
            row.as_ref().map_or(0, |row| 1 + (row.point * 3 + row.term as usize) as u8)
        };
        let mut callers: Vec<[u8; 3]> = self
            .callers
            .iter()
            .map(|caller| {
                let Caller { phase, at, knowledge, before, releases, ghost } = caller;
                let transaction =
                    matches!(phase, Phase::Working | Phase::Recorded | Phase::Repeating);
                let before = if transaction { point_of(before) } else { 3 };
                let written =
                    if *phase == Phase::Recorded { point_of(&knowledge.recovery_point) } else { 3 };
                let ghost = ghost.as_ref().map_or(0, |tokens| bits(tokens) & 3);
                if *phase == Phase::Done {
                    return [*phase as u8, ghost << 3, 0];
                }
                [
                    *phase as u8 | (*at as u8) << 3 | (before as u8) << 5,
                    bits(&knowledge.tokens) | ghost << 3 | u8::from(*releases) << 5,
                    point_of(&knowledge.settled) as u8 | (written as u8) << 2,
                ]
            })
            .collect();
        callers.sort_unstable();
        let mut code = [0; 12];
        code[0] = row(&self.row);
        code[1] = row(&self.pending);
        code[2] = (self.effects[0] | self.effects[1] << 4) as u8;
        for (index, caller) in callers.into_iter().enumerate() {
            code[3 + 3 * index..6 + 3 * index].copy_from_slice(&caller);
        }
        code
    }

    /// The state that a code stands for.
    fn of(code: Code, model: &Model) -> Self {
        let row = |code: u8, name: &str| {
            let code = usize::from(code.checked_sub(1)?);
            Some(Stored { point: code / 3, term: TERMS[code % 3], token: token(name) })
        };
        let tokens = |bits: u8| {
            let names = [(1, "row"), (2, "pending"), (4, "dead")];
            let had = names.into_iter().filter(|(bit, _)| bits & bit != 0);
            had.map(|(_, name)| token(name)).collect::<Vec<_>>()
        };
        let point = |code: u8| POINTS.get(usize::from(code & 3)).map(|&point| point.to_owned());
        let caller = |code: &[u8]| Caller {
            phase: PHASES[usize::from(code[0] & 7)],
            at: usize::from(code[0] >> 3 & 3),
            knowledge: LeaseKnowledge {
                tokens: tokens(code[1] & 7),
                settled: point(code[2]),
                recovery_point: point(code[2] >> 2),
                ..LeaseKnowledge::default()
            },
            before: point(code[0] >> 5),
            releases: code[1] >> 5 & 1 == 1,
            ghost: (code[1] >> 3 & 3 != 0).then(|| tokens(code[1] >> 3 & 3)),
        };
        Self {
            row: row(code[0], "row"),
            pending: row(code[1], "pending"),
            effects: [usize::from(code[2] & 15), usize::from(code[2] >> 4)],
            callers: code[3..].chunks(3).take(model.callers).map(caller).collect(),
        }
    }
}

type Code = [u8; 12];

/// What the search came to.
struct Searched {
    states: usize,
    /// The steps that lead to what must never happen.
    counterexample: Option<(&'static str, Vec<String>)>,
    /// A state from which time and patience lead to no answer.
    stuck: Option<Vec<String>>,
}

/// Looks at every state, the nearest first.
fn search(model: &Model) -> Searched {
    let first = State::first(model).code();
    let mut codes = vec![first];
    let mut numbers = HashMap::from([(first, 0_u32)]);
    let mut came_by: Vec<(u32, u8, Step)> = vec![(0, 0, Step::Initialize)];
    let mut patient_steps: Vec<(u32, u32)> = Vec::new();
    let mut number = 0;
    while let Some(&code) = codes.get(number) {
        let state = State::of(code, model);
        let steps = (0..model.callers).flat_map(|who| STEPS.map(|step| (who, step)));
        for (who, step) in steps.chain([(0, Step::LeaseRunsOut)]) {
            let Some(next) = state.after(model, who, step) else { continue };
            if let Some(violation) = state.violation(&next, step) {
                let mut trace = trace(model, &codes, &came_by, number);
                trace.push(format!("{step:?} of {who}: {:?} {:?}", next.row, next.effects));
                let counterexample = Some((violation, trace));
                return Searched { states: codes.len(), counterexample, stuck: None };
            }
            let code = next.code();
            let known = *numbers.entry(code).or_insert_with(|| {
                codes.push(code);
                came_by.push((number as u32, who as u8, step));
                codes.len() as u32 - 1
            });
            if PATIENCE.contains(&step) {
                patient_steps.push((known, number as u32));
            }
        }
        number += 1;
    }
    let stuck = stuck(model, &codes, patient_steps).map(|number| {
        let mut trace = trace(model, &codes, &came_by, number);
        trace.push(format!("{:?}", State::of(codes[number], model)));
        trace
    });
    Searched { states: codes.len(), counterexample: None, stuck }
}

/// A state from which no patient steps lead to where everybody has the answer. `steps` are their ends
/// and beginnings.
fn stuck(model: &Model, codes: &[Code], mut steps: Vec<(u32, u32)>) -> Option<usize> {
    steps.sort_unstable();
    let is_answered = |code: &&Code| {
        let callers = &code[3..3 + 3 * model.callers];
        callers.chunks(3).all(|caller| PHASES[usize::from(caller[0] & 7)] == Phase::Done)
    };
    let answered = codes.iter().enumerate().filter(|(_, code)| is_answered(code));
    let mut queue: VecDeque<u32> = answered.map(|(number, _)| number as u32).collect();
    let mut hopeful = vec![false; codes.len()];
    queue.iter().for_each(|&number| hopeful[number as usize] = true);
    while let Some(number) = queue.pop_front() {
        let from = steps.partition_point(|&(end, _)| end < number);
        for &(_, before) in steps[from..].iter().take_while(|&&(end, _)| end == number) {
            if !std::mem::replace(&mut hopeful[before as usize], true) {
                queue.push_back(before);
            }
        }
    }
    hopeful.iter().position(|hopeful| !hopeful)
}

/// The steps that led to a state. Callers are numbered anew in every state.
fn trace(
    model: &Model,
    codes: &[Code],
    came_by: &[(u32, u8, Step)],
    mut number: usize,
) -> Vec<String> {
    let mut steps = Vec::new();
    while number != 0 {
        let (before, who, step) = came_by[number];
        let state = State::of(codes[number], model);
        let callers = state.callers.iter().map(|caller| (caller.phase, caller.at));
        let callers: Vec<_> = callers.collect();
        steps.push(format!("{step:?} of {who}: {:?} {callers:?}", state.row));
        number = before as usize;
    }
    steps.reverse();
    steps
}

fn holds_for(model: &Model) -> usize {
    let searched = search(model);
    if let Some((violation, trace)) = searched.counterexample {
        panic!("{violation}:\n{}", trace.join("\n"));
    }
    if let Some(trace) = searched.stuck {
        panic!("somebody never gets an answer:\n{}", trace.join("\n"));
    }
    println!("{} states", searched.states);
    searched.states
}

fn three_callers_hold(says_point: bool, bound: bool) {
    let states = holds_for(&Model { says_point, bound, ..PROTOCOL });
    assert!(states > 10_000);
}

#[test]
fn stages_by_key_in_transactions_of_the_engine() {
    three_callers_hold(false, false);
}

#[test]
fn stages_by_key_in_transactions_of_their_callers() {
    three_callers_hold(false, true);
}

#[test]
fn stages_by_recovery_point_in_transactions_of_the_engine() {
    three_callers_hold(true, false);
}

#[test]
fn stages_by_recovery_point_in_transactions_of_their_callers() {
    three_callers_hold(true, true);
}

#[test]
fn stages_of_which_the_first_inserts_the_key() {
    for inserts in [Inserts::WithStage, Inserts::Either] {
        for says_point in [false, true] {
            let model = Model { says_point, inserts, ..PROTOCOL };
            assert!(holds_for(&model) > 10_000);
        }
    }
}

#[test]
fn callers_that_lock_and_update_too() {
    // With a third caller those in transactions of their callers hold as well, but take a minute.
    for (says_point, bound, callers) in
        [(false, false, 3), (true, false, 3), (false, true, 2), (true, true, 2)]
    {
        let model = Model { callers, says_point, bound, locks_and_updates: true, ..PROTOCOL };
        assert!(holds_for(&model) > 1_000);
    }
}

fn violation_of(model: &Model) -> &'static str {
    let (violation, trace) = search(model).counterexample.expect("no counterexample");
    println!("{violation}:\n{}", trace.join("\n"));
    violation
}

#[test]
fn without_the_fence_work_is_done_twice() {
    fn unfenced(knowledge: &LeaseKnowledge, row: &Row, point: Option<&str>) -> StageDecision {
        match stage::decide(knowledge, row, point) {
            StageDecision::InUse | StageDecision::LeaseLost => StageDecision::Run,
            verdict => verdict,
        }
    }
    let model = Model { callers: 2, decide: unfenced, ..PROTOCOL };
    assert_eq!(violation_of(&model), "the effect of a stage is committed twice");
    let model = Model { callers: 2, locks_and_updates: true, fenced: false, ..PROTOCOL };
    assert_eq!(violation_of(&model), "a finished answer changes");
}

#[test]
fn to_take_the_key_of_somebody_else_for_new_is_wrong() {
    let model =
        Model { callers: 2, inserts: Inserts::WithStage, takes_conflict_for_new: true, ..PROTOCOL };
    assert_eq!(violation_of(&model), "the effect of a stage is committed twice");
}

#[test]
fn to_trust_what_is_not_committed_is_wrong() {
    for bound in [false, true] {
        let model = Model { callers: 2, bound, trusts_writes: true, ..PROTOCOL };
        assert_eq!(violation_of(&model), "the effect of a stage is committed twice");
    }
}

#[test]
fn to_forget_a_commit_that_was_not_heard_of_is_wrong() {
    fn forgetful(knowledge: &LeaseKnowledge, row: &Row, point: Option<&str>) -> StageDecision {
        let told =
            LeaseKnowledge { settled: Some(row.key.recovery_point.clone()), ..knowledge.clone() };
        stage::decide(&told, row, point)
    }
    let model = Model { callers: 2, decide: forgetful, ..PROTOCOL };
    assert_eq!(violation_of(&model), "the effect of a stage is committed twice");
}

#[test]
fn a_code_stands_for_its_state() {
    let inserts = Inserts::Either;
    let model = Model { callers: 2, locks_and_updates: true, inserts, ..PROTOCOL };
    let mut seen = HashSet::from([State::first(&model).code()]);
    let mut open: Vec<Code> = seen.iter().copied().collect();
    while let Some(code) = open.pop() {
        let state = State::of(code, &model);
        assert_eq!(state.code(), code);
        let steps = (0..2).flat_map(|who| STEPS.map(|step| (who, step)));
        let next = steps.filter_map(|(who, step)| state.after(&model, who, step));
        open.extend(next.map(|next| next.code()).filter(|code| seen.insert(*code)).take(8));
        if seen.len() > 20_000 {
            break;
        }
    }
}
