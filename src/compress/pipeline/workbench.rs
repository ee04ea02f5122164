//! The context of every step: the teacher, the images, the settings and the device.

use std::cell::{Cell, OnceCell, RefCell};

use tch::{Kind, Tensor};

use super::batch_independence;
use super::yielding_observer::YieldingObserver;
use crate::compress::CompressError;
use crate::compress::file::to_onnx;
use crate::compress::observer::Observer;
use crate::compress::pictures::tiny_set::TinySet;
use crate::compress::pictures::{ImageProblem, PictureMaker};
use crate::compress::quality::classes;
use crate::compress::refit::Frontier;
use crate::compress::samples::Samples;
use crate::compress::setting::Setting;
use crate::compress::student::Student;
use crate::compress::student::forward::{Answers, Forward};
use crate::compress::train::halving::Room;
use crate::exec::Device;
use crate::graph::DataType;
use crate::images::{Chw, ImageSet};
use crate::latency::{self, HostLock, Input, Model, Probe, Source};
use crate::network::blocks::Block;
use crate::network::input::{ImageInput, side_inputs};
use crate::network::{Network, NetworkError, elements};
use crate::spec::config::JobConfig;
use crate::spec::latency::{LatencyConfig, Plan, Reduction};
use crate::spec::report::{Evidence, ImageSource};

/// The teacher, the images, the settings and the device of one job. Opening it evaluates the teacher on the images, and creates
/// synthetic images if there are none or the given ones are insufficient.
pub struct Bench {
    pub(crate) network: Network,
    pub(crate) config: JobConfig,
    pub(crate) samples: Samples,
    pub(crate) labels: Vec<Option<u32>>,
    /// Of the images, in their order.
    pub(crate) names: Vec<String>,
    pub(crate) teacher: Student,
    pub(crate) device: Device,
    pub(crate) probe: Probe,
    pub(crate) model: Vec<u8>,
    pub(crate) images_sha256: String,
    pub(crate) rung: ImageSource,
    /// Why the given images are insufficient although there are many.
    pub(crate) shortcoming: Option<ImageProblem>,
    size: Chw,
    answers: OnceCell<(Answers, Option<Answers>)>,
    classes: OnceCell<Option<Evidence>>,
    /// With synthetic images added, if the given ones are insufficient.
    mixed: OnceCell<Samples>,
    mixed_answers: OnceCell<(Answers, Option<Answers>)>,
    /// How far the teacher has been computed for the scores so far, on the images of our ways of fitting.
    pub(crate) frontier: RefCell<Frontier>,
    /// How much of a batch the device's memory holds.
    room: Cell<Room>,
}

impl Bench {
    /// Loads the network and the images and checks that they fit each other and the settings. Without images, synthetic ones
    /// are created, which takes a while.
    pub fn open(
        model: &[u8],
        images: Option<&ImageSet>,
        config: &JobConfig,
        device: Device,
        probe: Probe,
        observer: &dyn Observer,
    ) -> Result<Self, CompressError> {
        let mut room = Room::default();
        let open = || Self::opened(model, images, config, device, probe.clone(), observer);
        let bench = room.fit(observer, || (), open)?;
        bench.room.set(room);
        Ok(bench)
    }

    /// Does some of the job's work, with half the batch each time that the device's memory runs out.
    pub(crate) fn fitting<T>(
        &self,
        observer: &dyn Observer,
        work: impl Fn() -> Result<T, CompressError>,
    ) -> Result<T, CompressError> {
        let mut room = self.room.get();
        let done = room.fit(observer, || drop(self.frontier.take()), work);
        self.room.set(room);
        done
    }

    fn opened(
        model: &[u8],
        images: Option<&ImageSet>,
        config: &JobConfig,
        device: Device,
        probe: Probe,
        observer: &dyn Observer,
    ) -> Result<Self, CompressError> {
        let (network, size) = fitting(model, images, config)?;
        let config = &JobConfig { preprocess: network.input.preprocess(&config.preprocess)?, ..config.clone() };
        let teacher = Student::teacher(&network, device)?;
        let studio = PictureMaker { network: &network, teacher: &teacher, config, size };
        let (tiny, samples) = match images {
            Some(set) => {
                let samples = Samples::new(set, &config.preprocess, size, config.seed)?;
                (TinySet::given(set, config), samples)
            }
            None => studio.made(&YieldingObserver::new(observer)?)?,
        };
        batch_independence::check(&network, &teacher, &samples)?;
        let (answers, classes) = (OnceCell::new(), OnceCell::new());
        let labels: Vec<Option<u32>> = tiny.images.images().iter().map(|image| image.label).collect();
        let mut rung = tiny.rung;
        let mut shortcoming = None;
        if images.is_some() {
            let known = asked(&network, &teacher, &samples, &answers)?;
            let found = evidence(&network, &samples, &labels, known)?;
            let evidence = *classes.get_or_init(|| found);
            shortcoming = ImageProblem::of(&samples, &tiny.preprocess, &known.0, evidence.is_some())?;
            if samples.held_out.is_empty() || shortcoming.is_some() {
                rung = ImageSource::GivenAndProcedural;
            }
        }
        Ok(Self {
            mixed: OnceCell::new(),
            mixed_answers: OnceCell::new(),
            frontier: RefCell::default(),
            room: Cell::default(),
            rung,
            shortcoming,
            size,
            samples,
            labels,
            classes,
            names: tiny.images.images().iter().map(|image| image.name.clone()).collect(),
            teacher,
            network,
            config: config.clone(),
            device,
            probe,
            model: model.to_vec(),
            images_sha256: tiny.images.sha256(),
            answers,
        })
    }

    /// The blocks that may be dropped, in graph order: droppable and not excluded.
    pub fn candidates(&self) -> Result<Vec<&Block>, CompressError> {
        candidates(&self.network, &self.config)
    }

    /// The evidence that the network's first output is classes; `None` without any.
    pub(crate) fn classes(&self) -> Result<Option<Evidence>, CompressError> {
        if let Some(known) = self.classes.get() {
            return Ok(*known);
        }
        let known = asked(&self.network, &self.teacher, &self.samples, &self.answers)?;
        let found = evidence(&self.network, &self.samples, &self.labels, known)?;
        Ok(*self.classes.get_or_init(|| found))
    }

    /// The teacher, the images as they are, and what the teacher answers about them: what quality is measured on, and what
    /// the paper's ways fit on.
    pub(crate) fn setting(&self) -> Result<Setting<'_>, CompressError> {
        self.setting_of(&self.samples, &self.answers)
    }

    /// The same for our ways of fitting, which see pictures beside the images where those do not do by themselves. Making
    /// them takes a while, so only the steps that fit on them wait for it; `observer` is one that lets measurements go first.
    pub(crate) fn mixed_setting(&self, observer: &dyn Observer) -> Result<Setting<'_>, CompressError> {
        if self.rung != ImageSource::GivenAndProcedural {
            return self.setting();
        }
        let mixed = match self.mixed.get() {
            Some(mixed) => mixed,
            None => {
                let Self { network, teacher, config, size, .. } = self;
                let mixed = PictureMaker { network, teacher, config, size: *size }.beside(&self.samples, observer)?;
                self.mixed.get_or_init(|| mixed)
            }
        };
        self.setting_of(mixed, &self.mixed_answers)
    }

    fn setting_of<'a>(
        &'a self,
        samples: &'a Samples,
        answers: &'a OnceCell<(Answers, Option<Answers>)>,
    ) -> Result<Setting<'a>, CompressError> {
        let (fit, held_out) = asked(&self.network, &self.teacher, samples, answers)?;
        Ok(Setting {
            network: &self.network,
            teacher: &self.teacher,
            samples,
            fit,
            held_out: held_out.as_ref(),
            device: self.device,
            seed: self.config.seed,
        })
    }

    /// The teacher without these blocks and with its own weights, as a file.
    pub(crate) fn plain_drop(&self, blocks: &[&Block]) -> Result<Vec<u8>, CompressError> {
        let student = Student::dropped(&self.network, blocks, self.device)?;
        to_onnx(&self.network, blocks, &student, &[])
    }

    /// Measures the teacher and these students side by side, alone on the host.
    pub(crate) fn latency(
        &self,
        students: &[(&str, &[u8])],
        observer: &dyn Observer,
    ) -> Result<latency::Samples, CompressError> {
        self.latency_on(Occasion::Full, students, observer)
    }

    /// The same, as thoroughly as the occasion asks for.
    pub(crate) fn latency_on(
        &self,
        occasion: Occasion,
        students: &[(&str, &[u8])],
        observer: &dyn Observer,
    ) -> Result<latency::Samples, CompressError> {
        let all = std::iter::once((TEACHER, self.model.as_slice())).chain(students.iter().copied());
        let inputs = self.latency_inputs()?;
        let model = |(label, bytes)| Model { label, source: Source::Bytes(bytes), inputs: inputs.clone() };
        let models: Vec<Model> = all.map(model).collect();
        let cancelled = || observer.cancelled();
        let plan = Plan { seed: self.config.seed, ..occasion.plan(&self.config.latency) };
        let measure = || latency::measure(&self.probe, &models, &self.config.latency, &plan, &cancelled);
        Ok(HostLock::of_host().alone(&cancelled, measure)?)
    }

    /// The values of all inputs.
    fn latency_inputs(&self) -> Result<Vec<Input>, CompressError> {
        let (height, width) = self.network.size;
        let dims = [self.config.latency.batch, self.network.input.channels, height, width];
        let images = Tensor::f_zeros(dims.map(|size| size as i64), (Kind::Float, tch::Device::Cpu))?;
        let ImageInput { file_name, layout, dtype, .. } = &self.network.input;
        let mut inputs = vec![Input::seeded(file_name, layout.order(&dims).to_vec())];
        if *dtype == DataType::Uint8 {
            let numbers = Tensor::f_arange(images.numel() as i64, (Kind::Float, tch::Device::Cpu))?;
            let pixels = numbers.f_remainder(256.0)?.f_reshape(images.size())?;
            inputs[0].elements = Some(elements(&self.network.input.fed(&pixels)?)?);
        }
        for companion in &self.network.companions {
            inputs.push(companion.measured(&images)?);
        }
        Ok(inputs)
    }
}

/// Precision of a latency measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// For selection and reported figures.
    Full,
    /// For the curve only: two rounds, a quarter of the samples, and a wider interval.
    Short,
}

impl Occasion {
    fn plan(self, config: &LatencyConfig) -> Plan {
        let full = config.plan();
        match self {
            Self::Full => full,
            Self::Short => Plan { rounds: 2, pairs: full.pairs / 4, max_seconds: full.max_seconds / 4.0, ..full },
        }
    }
}

/// Label of the teacher's samples.
pub(crate) const TEACHER: &str = "teacher";

/// The latency reduction of a student that was measured together with the teacher.
pub(crate) fn reduction(samples: &latency::Samples, student: &str, seed: u64) -> Result<Reduction, CompressError> {
    let reduction = samples.reduction(TEACHER, student, seed);
    reduction.ok_or_else(|| CompressError::TooFewSamples(format!("the {student}")))
}

fn fitting(model: &[u8], images: Option<&ImageSet>, config: &JobConfig) -> Result<(Network, Chw), CompressError> {
    let mut resolved = None;
    let network = Network::load_for(model, &config.inputs, |input| {
        let size = TinySet::size(input.wants(), images, config)?;
        resolved = Some(size);
        Ok((size.height, size.width))
    })?;
    side_inputs::check(&network.input, &network.companions, &config.inputs)?;
    candidates(&network, config)?;
    let fixed = network.input.batch.filter(|batch| *batch != config.latency.batch);
    if let Some(batch) = fixed {
        return Err(NetworkError::ModelInterface(format!(
            "the model's batch is fixed at {batch} and the job measures latency at {}; set \"latency\": {{\"batch\": {batch}}}, or export the model with a dynamic batch",
            config.latency.batch
        )).into());
    }
    Ok((network, resolved.expect("set while loading")))
}

/// The teacher's outputs for the fitted and the held-out images; computed once.
fn asked<'a>(
    network: &Network,
    teacher: &Student,
    samples: &Samples,
    known: &'a OnceCell<(Answers, Option<Answers>)>,
) -> Result<&'a (Answers, Option<Answers>), CompressError> {
    if let Some(answers) = known.get() {
        return Ok(answers);
    }
    let forward = Forward::answers(network, teacher)?;
    let ask = |indices: &[i64]| finite(forward.all(&teacher.params, samples, indices)?);
    let held_out = (!samples.held_out.is_empty()).then(|| ask(&samples.held_out)).transpose()?;
    let fit = ask(&samples.fit)?;
    Ok(known.get_or_init(|| (fit, held_out)))
}

/// The evidence that the first output is classes, from the teacher's outputs and the labels.
fn evidence(
    network: &Network,
    samples: &Samples,
    labels: &[Option<u32>],
    (fit, held_out): &(Answers, Option<Answers>),
) -> Result<Option<Evidence>, CompressError> {
    let all: Vec<&Tensor> = std::iter::once(&fit.output).chain(held_out.as_ref().map(|held| &held.output)).collect();
    let indices = samples.fit.iter().chain(held_out.iter().flat_map(|_| &samples.held_out));
    let labels: Vec<Option<u32>> = indices.map(|index| labels.get(*index as usize).copied().flatten()).collect();
    classes::decide(classes::of(network), &Tensor::f_cat(&all, 0)?, &labels)
}

fn candidates<'n>(network: &'n Network, config: &JobConfig) -> Result<Vec<&'n Block>, CompressError> {
    for name in &config.exclude_blocks {
        network.block(name)?;
    }
    let mut candidates = network.droppable()?;
    candidates.retain(|block| !block.places().any(|place| config.exclude_blocks.contains(&place.name)));
    if candidates.is_empty() {
        return Err(NetworkError::NoDroppableBlock("all droppable blocks are in exclude_blocks".into()).into());
    }
    Ok(candidates)
}

/// The outputs, or an error if they are not finite.
fn finite(answers: Answers) -> Result<Answers, CompressError> {
    for tensor in answers.features.iter().chain([&answers.output]) {
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(CompressError::OutputsNotFinite);
        }
    }
    Ok(answers)
}
