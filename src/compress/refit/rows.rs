//! The rows of the least-squares problem: one for each image and position.

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::cut;
use crate::compress::edit::position;
use crate::compress::observer::Observer;
use crate::compress::random::stream;
use crate::compress::recoverability::Setting;
use crate::compress::student::Student;
use crate::exec::{Executor, RunOptions};
use crate::graph::Node;

use super::problem::Problem;

/// Rows per unknown of one output channel. Neighbouring positions say nearly the same, so beyond this more rows cost time
/// and bring nothing.
const ROWS_PER_UNKNOWN: usize = 128;

/// Where the rows come from: the student's values around the convolution, and the teacher's value that it is to meet.
pub(super) struct Rows {
    /// `None` where the teacher computes what the student computes there.
    student: Option<Executor>,
    teacher: Executor,
    window: Window,
    target: String,
}

/// Rows of some images: what the convolution sees and a 1 for the bias (r, p + 1), what it is to meet (r, M), and what is
/// added to it (r, M).
pub(super) struct Chunk {
    pub(super) x: Tensor,
    pub(super) target: Tensor,
    pub(super) shortcut: Option<Tensor>,
}

impl Chunk {
    /// The same in f64, as sums over all rows need it.
    pub(super) fn doubled(&self) -> Result<Self, CompressError> {
        Ok(Self {
            x: self.x.f_to_kind(Kind::Double)?,
            target: self.target.f_to_kind(Kind::Double)?,
            shortcut: self.shortcut.as_ref().map(|shortcut| shortcut.f_to_kind(Kind::Double)).transpose()?,
        })
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let all = [Some(&self.x), Some(&self.target), self.shortcut.as_ref()];
        all.into_iter().flatten().map(|tensor| tensor.numel() * 4).sum()
    }
}

impl Rows {
    /// `None` where the convolution pads in a way that its rows cannot be cut for.
    ///
    /// `refitted` names the convolutions of the student that are not the teacher's any more.
    pub(super) fn plan(
        setting: &Setting,
        student: &Student,
        problem: &Problem,
        refitted: &[String],
    ) -> Result<Option<Self>, CompressError> {
        let teacher = &setting.network.graph;
        let at = position(&student.graph, &problem.conv).expect("a convolution of this graph");
        let conv = &student.graph.nodes[at];
        let Some(window) = Window::of(student, conv) else { return Ok(None) };
        let input = setting.network.input.name.as_str();
        let wanted: Vec<&str> = std::iter::once(conv.inputs[0].as_str()).chain(problem.shortcut.as_deref()).collect();
        let own = at > cut::first_difference(teacher, &student.graph, refitted);
        let mut of_teacher = vec![problem.target.as_str()];
        if !own {
            of_teacher.extend(&wanted);
        }
        Ok(Some(Self {
            student: own.then(|| Executor::new(&student.graph, &[input], &wanted)).transpose()?,
            teacher: Executor::new(teacher, &[input], &of_teacher)?,
            window,
            target: problem.target.clone(),
        }))
    }

    /// The rows of all images fitted on, a batch of images at a time, in the same order and the same choice each time; in the
    /// networks' own f32.
    pub(super) fn each(
        &self,
        setting: &Setting,
        student: &Student,
        observer: &dyn Observer,
        mut take: impl FnMut(Chunk) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let mut random = stream(setting.seed, &format!("refit/{}", self.target));
        let images = &setting.samples.fit;
        for chunk in images.chunks(setting.samples.evaluation_batch()) {
            observer.check()?;
            let images_here = setting.samples.select(chunk)?;
            take(tch::no_grad(|| self.chunk(setting, student, &images_here, images.len(), &mut random))?)?;
        }
        Ok(())
    }

    fn chunk(
        &self,
        setting: &Setting,
        student: &Student,
        images: &Tensor,
        all_images: usize,
        random: &mut ChaCha8Rng,
    ) -> Result<Chunk, CompressError> {
        let images = images.f_to_device(student.params.device())?;
        let fed = [(setting.network.input.name.as_str(), &images)];
        let mut of_teacher = self.teacher.run(&setting.teacher.params, &fed, &RunOptions::INFERENCE)?.into_iter();
        let target = of_teacher.next().expect("the target");
        let mut of_student = match &self.student {
            Some(executor) => executor.run(&student.params, &fed, &RunOptions::INFERENCE)?.into_iter(),
            None => of_teacher,
        };
        let size = target.size();
        let (count, positions) = (size[0] as usize, (size[2] * size[3]) as usize);
        let wanted = ROWS_PER_UNKNOWN * (self.window.unknowns() + 1);
        let keep = (wanted * count).div_ceil(all_images).min(count * positions);
        let mut kept: Vec<usize> = sample(random, count * positions, keep).into_vec();
        kept.sort_unstable();
        let places = Places::of(&kept, [size[2] as usize, size[3] as usize], images.device())?;
        let x = self.window.rows(&of_student.next().expect("the convolution's input"), &places)?;
        let ones = Tensor::f_ones([x.size()[0], 1], (x.kind(), x.device()))?;
        let pick = |value: &Tensor| places.of_channels(value);
        let shortcut = of_student.next().as_ref().map(pick).transpose()?;
        Ok(Chunk { x: Tensor::f_cat(&[x, ones], 1)?, target: pick(&target)?, shortcut })
    }
}

/// Some of the images and positions of a batch.
struct Places {
    image: Tensor,
    row: Tensor,
    column: Tensor,
}

impl Places {
    /// `kept` counts through all positions, (H, W), of one image after the other.
    fn of(kept: &[usize], [height, width]: [usize; 2], device: Device) -> Result<Self, CompressError> {
        let told = |part: fn(usize, usize, usize) -> usize| {
            let indices: Vec<i64> = kept.iter().map(|&place| part(place, height, width) as i64).collect();
            Tensor::from_slice(&indices).f_to_device(device)
        };
        Ok(Self {
            image: told(|place, height, width| place / (height * width))?,
            row: told(|place, height, width| place / width % height)?,
            column: told(|place, _, width| place % width)?,
        })
    }

    /// (N, C, H, W) → (r, C).
    fn of_channels(&self, value: &Tensor) -> Result<Tensor, CompressError> {
        self.of_positions(&value.f_permute([0, 2, 3, 1])?)
    }

    /// (N, H, W, …) → (r, …).
    fn of_positions(&self, value: &Tensor) -> Result<Tensor, CompressError> {
        Ok(value.f_index(&[Some(&self.image), Some(&self.row), Some(&self.column)])?)
    }
}

/// What a convolution sees at each position.
struct Window {
    channels: i64,
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    /// Before and behind the height, before and behind the width.
    pads: [i64; 4],
}

impl Window {
    fn of(student: &Student, conv: &Node) -> Option<Self> {
        let weight = student.params.get(conv.input(1)?)?.size();
        let pair = |name: &str| match conv.attrs.ints(name) {
            Some(values) => <[i64; 2]>::try_from(values).ok(),
            None => Some([1, 1]),
        };
        let pads = match conv.attrs.string("auto_pad", "NOTSET") {
            "NOTSET" => conv.attrs.ints("pads").map_or(Some([0; 4]), |pads| <[i64; 4]>::try_from(pads).ok())?,
            "VALID" => [0; 4],
            _ => return None,
        };
        let [top, left, bottom, right] = pads;
        Some(Self {
            channels: weight[1],
            kernel: [weight[2], weight[3]],
            strides: pair("strides")?,
            dilations: pair("dilations")?,
            pads: [top, bottom, left, right],
        })
    }

    /// Unknowns of one output channel, without its bias.
    fn unknowns(&self) -> usize {
        (self.channels * self.kernel[0] * self.kernel[1]) as usize
    }

    /// (N, C, H, W) → (r, C·kH·kW), columns in the order of a kernel (M, C, kH, kW). The windows are views of the padded
    /// input, so that only those asked for are copied.
    fn rows(&self, x: &Tensor, places: &Places) -> Result<Tensor, CompressError> {
        let [top, bottom, left, right] = self.pads;
        let mut windows = x.f_constant_pad_nd([left, right, top, bottom])?;
        for (axis, dim) in [(0, 2), (1, 3)] {
            let span = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            windows = windows.f_unfold(dim, span, self.strides[axis])?;
            windows = windows.f_slice(-1, 0, span, self.dilations[axis])?;
        }
        Ok(places.of_positions(&windows.f_permute([0, 2, 3, 1, 4, 5])?)?.f_flatten(1, -1)?)
    }
}
