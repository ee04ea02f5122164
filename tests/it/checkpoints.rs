//! A fine-tuning that is gone on from anywhere comes to the same student.

use std::sync::Mutex;

use practised::compress::observer::Observer;
use practised::compress::recipes::{Recovered, by_paper, by_practised};
use practised::compress::student::Student;
use practised::compress::train::checkpoint::Checkpoints;
use practised::exec::{Device, Params};
use practised::spec::config::{FinetuneConfig, Part, Recipe};
use practised::spec::phase::Phase;
use practised::spec::report::FinetuneReport;

use crate::recovery::with_a_channel_that_only_hints_see;
use crate::support::networks::{BatchNorm, TinyResNet};
use crate::support::scene::Scene;

/// Begins where it is told to, and keeps every checkpoint it is given.
#[derive(Default)]
struct Keeper {
    begin: Option<Vec<u8>>,
    every: bool,
    made: Mutex<Vec<Vec<u8>>>,
    told: Mutex<Vec<String>>,
}

impl Keeper {
    fn at(begin: &[u8]) -> Self {
        Self { begin: Some(begin.to_vec()), ..Self::default() }
    }

    fn told(&self, kind: &str) -> bool {
        self.told.lock().expect("whole").iter().any(|told| told == kind)
    }
}

impl Observer for Keeper {
    fn progress(&self, _phase: Phase, _done: u64, _total: u64) {}

    fn event(&self, kind: &str, _detail: serde_json::Value) {
        self.told.lock().expect("whole").push(kind.to_owned());
    }

    fn wants_checkpoint(&self) -> bool {
        self.every
    }

    fn checkpoint(&self, bytes: Vec<u8>) {
        self.made.lock().expect("whole").push(bytes);
    }

    fn kept(&self) -> Option<Vec<u8>> {
        self.begin.clone()
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn recover(scene: &Scene, config: &FinetuneConfig, keeper: &Keeper) -> Recovered {
    let blocks = scene.blocks(&["layer1.1"]);
    let plain = Student::dropped(&scene.network, &blocks, Device::Cpu).expect("drops");
    let (setting, checkpoints) = (scene.setting(), Checkpoints::resume(keeper));
    match config.recipe {
        Recipe::Practised => by_practised(&setting, &plain, &blocks, config, &checkpoints),
        Recipe::Paper => by_paper(&setting, &plain, config, &checkpoints),
    }
    .expect("recovers")
}

fn configs() -> [FinetuneConfig; 3] {
    let of = |recipe, leave_out| FinetuneConfig {
        recipe,
        leave_out,
        mixing: recipe == Recipe::Practised,
        steps: Some(24),
        ..FinetuneConfig::default()
    };
    [of(Recipe::Practised, vec![]), of(Recipe::Practised, vec![Part::Optimiser]), of(Recipe::Paper, vec![])]
}

fn equal(a: &Params, b: &Params) -> bool {
    a.names().eq(b.names())
        && a.names().all(|name| a.get(name).expect("its name").equal(b.get(name).expect("the same")))
}

/// A report without what is about time.
fn timeless(report: &FinetuneReport) -> FinetuneReport {
    let mut report = report.clone();
    report.history.iter_mut().for_each(|point| point.seconds = 0.0);
    report
}

fn assert_same(whole: &Recovered, resumed: &Recovered, from: &str) {
    assert!(equal(&whole.student.params, &resumed.student.params), "{from}: another student");
    assert!(equal(&whole.measured().params, &resumed.measured().params), "{from}: another one was measured");
    assert_eq!(timeless(&whole.report), timeless(&resumed.report), "{from}");
    assert_eq!(whole.teacher_forwards, resumed.teacher_forwards, "{from}");
}

#[test]
fn from_every_fifth_step_the_rest_of_the_way_leads_to_the_same_student() {
    for bn in [BatchNorm::Kept, BatchNorm::Folded] {
        let scene = Scene::new(&TinyResNet { bn, ..TinyResNet::default() }, 40, 8);
        for config in configs() {
            let keeper = Keeper { every: true, ..Keeper::default() };
            let whole = recover(&scene, &config, &keeper);
            let made = keeper.made.into_inner().expect("whole");
            assert!(made.len() >= 24, "one a step: {}", made.len());
            for (at, bytes) in made.iter().enumerate().skip(1).step_by(5) {
                let keeper = Keeper::at(bytes);
                let resumed = recover(&scene, &config, &keeper);
                assert!(keeper.told("resumed"));
                assert_same(
                    &whole,
                    &resumed,
                    &format!("{bn:?}, {:?}, checkpoint {at} of {}", config.recipe, made.len()),
                );
            }
        }
    }
}

/// Training with hints, in vain, and the second one without.
#[test]
fn with_hints_and_once_they_are_left_out_the_rest_of_the_way_leads_to_the_same_student() {
    let net = TinyResNet { blocks: 3, ..TinyResNet::default() };
    let scene = Scene::of(&with_a_channel_that_only_hints_see(), &net, 40, 8);
    let [config, ..] = configs();
    let config = FinetuneConfig { steps: Some(150), ..config };
    let keeper = Keeper { every: true, ..Keeper::default() };
    let whole = recover(&scene, &config, &keeper);
    assert!(keeper.told("hints_left_out"));
    let made = keeper.made.into_inner().expect("whole");
    let left_out: Vec<bool> = (1..5)
        .map(|part| {
            let at = part * (made.len() - 1) / 4;
            let keeper = Keeper::at(&made[at]);
            assert_same(&whole, &recover(&scene, &config, &keeper), &format!("checkpoint {at} of {}", made.len()));
            !keeper.told("hints_left_out")
        })
        .collect();
    assert!(left_out.contains(&true) && left_out.contains(&false), "from both sides: {left_out:?}");
}

#[test]
fn a_checkpoint_that_is_none_costs_nothing_but_time() {
    let scene = Scene::new(&TinyResNet::default(), 40, 8);
    let [config, ..] = configs();
    let keeper = Keeper { every: true, ..Keeper::default() };
    let whole = recover(&scene, &config, &keeper);
    let made = keeper.made.into_inner().expect("whole");
    let last = made.last().expect("some were made");
    let [_, _, other] = configs();
    let keeper = Keeper { every: true, ..Keeper::default() };
    recover(&scene, &other, &keeper);
    let of_another_recipe = keeper.made.into_inner().expect("whole").pop().expect("some were made");
    for bytes in [&[][..], b"no checkpoint", &last[..last.len() / 2], &of_another_recipe] {
        let keeper = Keeper::at(bytes);
        let resumed = recover(&scene, &config, &keeper);
        assert!(!keeper.told("resumed"));
        assert_same(&whole, &resumed, &format!("{} bytes", bytes.len()));
    }
}
