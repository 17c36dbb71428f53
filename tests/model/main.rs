//! An exhaustive check of the relay: each schedule of a short dialogue, up to a number of faults.
//!
//! * [`case`]: the dialogues;
//! * [`step`]: the choices of a schedule, in all orders: a packet passes, is lost, comes twice, is
//!   late or cut, an end repeats or writes in parts, a deadline passes, an odd segment comes, the
//!   daemon is killed between two packets, before a verdict or behind it;
//! * [`end`]: a TCP end without a clock;
//! * [`world`]: the state, and what each step does to it;
//! * [`core_text`]: the state of the core, to tell whether two states are one;
//! * [`rules`]: what must hold in each state.
//!
//! The core itself runs, behind the kernel of the harness. Ordinary steps cost nothing. Any other
//! step is a fault, and a schedule has at most as many as stated, and one kill. All ordinary steps
//! are explored behind each fault, up to the end of the dialogue. So a dialogue that would not end
//! is found in the same way as any other breach.
//!
//! `FTP_ALG_MODEL_DEPTH=3 cargo test --test model` allows three faults. It takes long.

#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of the harness")]
mod harness;

mod case;
mod core_text;
mod end;
mod rules;
mod step;
mod world;

use std::{io::Write as _, sync::Arc};

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use crate::{
    case::Case,
    rules::{Rule, Witness},
    step::Step,
    world::{Mutant, World},
};

const HOLDS: &str = "no rule is broken";

/// All schedules of a dialogue with at most as many faults.
struct Schedules {
    case: Arc<Case>,
    mutant: Mutant,
    faults_max: usize,
}

impl Model for Schedules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(Arc::clone(&self.case), self.mutant)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend(world.steps(self.faults_max));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        world.after(step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HOLDS, |_, world: &World| world.breaches.is_empty()),
            Property::sometimes("the dialogue ends", |_, world: &World| world.is_complete()),
            Property::sometimes("bytes are acknowledged locally", |_, world: &World| {
                world.witnesses.contains(&Witness::LocallyAcked)
            }),
            Property::sometimes("the rewritten line leaves again", |_, world: &World| {
                world.witnesses.contains(&Witness::RewrittenAgain)
            }),
        ]
    }
}

/// Explores a case completely, and prints the numbers of its states.
fn explore(case: Case, faults_max: usize) {
    let faults_max = match std::env::var("FTP_ALG_MODEL_DEPTH") {
        Ok(text) => text.parse().expect("FTP_ALG_MODEL_DEPTH is a number"),
        Err(_) => faults_max,
    };
    let name = case.name;
    let schedules = Schedules {
        case: Arc::new(case),
        mutant: Mutant::None,
        faults_max,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = schedules.checker().threads(threads);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let (all, unique, depth) = (
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
    );
    print(&format!(
        "{name}: all schedules with up to {faults_max} faults: {all} states, {unique} unique, \
         up to {depth} steps"
    ));
    if let Some(path) = checker.discovery(HOLDS) {
        panic!("{}", schedule_of(path));
    }
    checker.assert_properties();
}

/// Finds a schedule with the fewest faults that shows a fault put around the core on purpose.
fn breach_of(case: Case, mutant: Mutant) -> Rule {
    let case = Arc::new(case);
    let found = (0..=1).find_map(|faults_max| {
        let schedules = Schedules {
            case: Arc::clone(&case),
            mutant,
            faults_max,
        };
        let checker = schedules.checker();
        let checker = checker.finish_when(HasDiscoveries::AnyFailures);
        checker.spawn_bfs().join().discovery(HOLDS)
    });
    let path = found.expect("the fault is found");
    let rule = path.last_state().breaches[0].rule;
    print(&format!("{mutant:?} is found:\n{}", schedule_of(path)));
    rule
}

/// A counterexample: its steps with their packets, and the rule that it breaks.
fn schedule_of(path: Path<World, Step>) -> String {
    let mut lines = Vec::new();
    for (world, step) in path.into_vec() {
        lines.push(match step {
            Some(step) => {
                let packet = step.packet().map(|at| world.wire[at].to_string());
                format!("  {step:?} {}", packet.unwrap_or_default())
            }
            None => format!("  breaks {:?}", world.breaches),
        });
    }
    lines.join("\n")
}

/// The numbers are a part of the result, so they are shown although the test passes.
fn print(text: &str) {
    writeln!(std::io::stdout(), "{text}").expect("stdout");
}

#[test]
fn a_port_through_snat_holds_in_each_schedule() {
    explore(Case::active(), 2);
}

#[test]
fn a_227_through_dnat_holds_in_each_schedule() {
    explore(Case::passive(), 2);
}

#[test]
fn a_port_that_shrinks_holds_in_each_schedule() {
    explore(Case::shrinking(), 1);
}

#[test]
fn a_dialogue_from_its_handshake_on_holds_in_each_schedule() {
    explore(Case::from_handshake(), 1);
}

#[test]
fn a_lost_flow_is_found() {
    assert_eq!(
        breach_of(Case::active(), Mutant::ForgetsSaved),
        Rule::Undisturbed
    );
}

#[test]
fn a_flow_that_is_saved_after_its_packet_is_found() {
    assert_eq!(
        breach_of(Case::active(), Mutant::SavesLate),
        Rule::Undisturbed
    );
}

#[test]
fn an_expectation_behind_its_announcement_is_found() {
    assert_eq!(
        breach_of(Case::passive(), Mutant::ExpectsLate),
        Rule::InForce
    );
}

#[test]
fn a_changed_repetition_is_found() {
    assert_eq!(
        breach_of(Case::active(), Mutant::ChangesRepeated),
        Rule::Repeated
    );
}
