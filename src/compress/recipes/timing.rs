//! How long a step of our recipe takes, phase by phase. For benchmarks.
//!
//! Phases are not clocked within a step: a GPU would have to be waited for at the end of each, and would stand still between
//! them. Each loop runs one phase more than the loop before, and the difference is what that phase takes.

use std::time::Instant;

use serde::Serialize;

use super::prepared::Prepared;
use super::run::Run;
use crate::compress::CompressError;
use crate::compress::refit::start::Refitted;
use crate::compress::setting::Setting;
use crate::compress::student::Student;
use crate::exec::Device;
use crate::spec::config::{FinetuneConfig, Precision};

/// The learning rate that is stepped with; it has no bearing on time.
const RATE: f64 = 0.001;

/// Share of the schedule that is behind the steps: views are mixed there, and hints count.
const PROGRESS: f64 = 0.5;

/// Steps ahead of the timed ones: memory is taken, and algorithms are looked for.
const WARM_UP: u32 = 5;

/// A step's time.
#[derive(Debug, Clone, Serialize)]
pub struct StepTimes {
    /// What steps are computed in.
    pub precision: Precision,
    /// Views in a step.
    pub views: i64,
    /// Their height and width in pixels.
    pub size: [i64; 2],
    /// Nodes of the student that are trained, of all.
    pub trained_nodes: [usize; 2],
    /// How many steps were timed.
    pub steps: u32,
    /// Milliseconds of one step on whole views, by phase.
    pub milliseconds: Phases,
    /// Milliseconds of a whole step on crops, if early steps see crops.
    pub cropped: Option<f64>,
}

/// Milliseconds of the phases of one step.
#[derive(Debug, Clone, Serialize)]
pub struct Phases {
    /// Views cut out, resized and mixed.
    pub views: f64,
    /// The teacher on them.
    pub teacher: f64,
    /// The student, from its weights to the loss.
    pub student_forward: f64,
    /// Gradients.
    pub backward: f64,
    /// The optimiser, and the mean of the weights.
    pub optimiser: f64,
    /// All of them.
    pub step: f64,
}

/// Times so many steps of a plain drop's recovery.
pub fn step_times(
    setting: &Setting,
    plain: &Student,
    config: &FinetuneConfig,
    steps: u32,
) -> Result<StepTimes, CompressError> {
    let schedule = config.steps_at(setting.samples.pixels(), setting.samples.made);
    let start = Prepared::new(setting, Refitted::nothing(plain.copy()?), config, schedule)?;
    let mut run = Run::new(setting, &start, config, schedule, RATE)?;
    let clock = Clock { device: setting.device, steps };
    let cropped = run.crops.then(|| clock.each(|| run.train(setting, config, PROGRESS))).transpose()?;
    run.crops = false;
    let views = run.next_views(setting, config, PROGRESS)?;
    let ends = Ends {
        views: clock.each(|| run.next_views(setting, config, PROGRESS))?,
        teacher: clock.each(|| run.pair.features(&views))?,
        forward: clock.each(|| run.loss(&views, PROGRESS))?,
        backward: clock.each(|| run.gradients(&views, PROGRESS))?,
        step: clock.each(|| run.train(setting, config, PROGRESS))?,
    };
    let nodes = start.student.graph.nodes.len();
    Ok(StepTimes {
        precision: start.precision,
        views: views.size()[0],
        size: [views.size()[2], views.size()[3]],
        trained_nodes: [nodes - start.first, nodes],
        steps,
        milliseconds: ends.phases(),
        cropped,
    })
}

/// Milliseconds of the loops: views alone; teacher, teacher to loss, teacher to gradients; whole steps.
struct Ends {
    views: f64,
    teacher: f64,
    forward: f64,
    backward: f64,
    step: f64,
}

impl Ends {
    fn phases(&self) -> Phases {
        Phases {
            views: self.views,
            teacher: self.teacher,
            student_forward: self.forward - self.teacher,
            backward: self.backward - self.forward,
            optimiser: self.step - self.backward - self.views,
            step: self.step,
        }
    }
}

struct Clock {
    device: Device,
    steps: u32,
}

impl Clock {
    /// Milliseconds that this takes, one after the other without waiting for the device between them.
    fn each<T>(&self, mut work: impl FnMut() -> Result<T, CompressError>) -> Result<f64, CompressError> {
        (0..WARM_UP).try_for_each(|_| work().map(drop))?;
        self.device.synchronize();
        let began = Instant::now();
        (0..self.steps).try_for_each(|_| work().map(drop))?;
        self.device.synchronize();
        Ok(began.elapsed().as_secs_f64() * 1e3 / f64::from(self.steps))
    }
}
