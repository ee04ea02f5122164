//! The start of every learning rate: the refitted student with its BatchNormalizations, and its validation.

use crate::compress::CompressError;
use crate::compress::refit::Gate;
use crate::compress::refit::start::Refitted;
use crate::compress::samples::stock::Stock;
use crate::compress::setting::Setting;
use crate::compress::student::batchnorm::{self, Made};
use crate::compress::student::{Student, boundary, weights};
use crate::compress::train::{crops, precision};
use crate::network::macs;
use crate::spec::config::{FinetuneConfig, LARGE, Part, Precision};

/// Runs of fewer steps train nothing ahead of the first gap.
const SHORT_RUN: u32 = 100;

/// Networks of so many multiply-accumulates for an image are trained as a whole: a step of them takes little time anyway.
const CHEAP: u64 = 100_000_000;

/// A refitted student, ready to be trained.
pub(super) struct Prepared {
    /// As refitted.
    pub(super) refitted: Refitted,
    /// With BatchNormalizations added or updated; computes the same.
    pub(super) student: Student,
    pub(super) made: Vec<Made>,
    /// Index of the first node that is not the teacher's.
    pub(super) first: usize,
    pub(super) gate: Gate,
    pub(super) precision: Precision,
    /// Whether early steps see crops.
    pub(super) crops: bool,
    /// Validation loss.
    pub(super) loss: f64,
    /// The images, where the steps are computed.
    pub(super) stock: Stock,
}

impl Prepared {
    /// For a run of so many steps.
    pub(super) fn new(
        setting: &Setting,
        refitted: Refitted,
        config: &FinetuneConfig,
        steps: u32,
    ) -> Result<Self, CompressError> {
        let first = first_trained(setting, &refitted, steps);
        let (mut student, mut made) = (refitted.student.copy()?, Vec::new());
        if config.has(Part::BatchNorm) {
            batchnorm::renew(setting.network, &mut student, setting.samples, first, &refitted.refitted)?;
            // Added ones start with the statistics of the same images.
            (student, made) = batchnorm::make_behind(setting.network, &student, &student, setting.samples, first)?;
        }
        let gate = Gate::at(setting, &student, first)?;
        let loss = gate.loss(&student)?;
        let precision = precision::settle(config.precision, setting, &student, first, loss)?;
        let crops = crops::fit(setting, &student, first, precision)?;
        let stock = Stock::on(setting.teacher.params.device(), setting.samples)?;
        Ok(Self { refitted, student, made, first, gate, precision, crops, loss, stock })
    }

    /// True if steps are in bfloat16 on a GPU.
    pub(super) fn narrow(&self) -> bool {
        self.precision == Precision::Bfloat16 && self.student.params.device().is_cuda()
    }

    /// True if there are weights from the first trained node on.
    pub(super) fn learns(&self) -> bool {
        !weights::weights_from(&self.student.graph, &self.student.taps, self.first).is_empty()
    }
}

/// Index of the first node that is trained.
///
/// On small images all are: layers ahead of a gap help to make up for it, and behind a late gap hardly a layer is left that
/// could (ResNet-20 without its last block: agreement 85.7 % in 79 CPU seconds, 76.6 % in 28 with what is ahead frozen). So it is
/// with cheap networks (a classifier of text lines, 48 × 320 pixels and 23 million multiply-accumulates, without its last two
/// blocks: the loss falls from 0.371 to 0.194, and to 0.331 with what is ahead frozen). On large images the layers ahead are
/// most of a step's time, and in a short run every step has to go where the damage is: there they stay as the teacher has them
/// (EfficientNet-Lite0 without its last two blocks: the loss is 0.251 either way, in 100 and 172 seconds).
fn first_trained(setting: &Setting, refitted: &Refitted, steps: u32) -> usize {
    let source = &refitted.student.graph;
    let first =
        boundary::first_difference(&setting.network.graph, source, &refitted.refitted).min(source.nodes.len() - 1);
    let cheap = || setting.samples.pixels() <= LARGE || macs::of_graph(source) <= CHEAP;
    if steps >= SHORT_RUN && cheap() { 0 } else { first }
}
