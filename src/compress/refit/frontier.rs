//! Intermediate values of a network on the images: refits go through it in depth order, and each continues from the values that
//! the previous one stored, instead of from the images.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem;

use tch::Tensor;

use crate::compress::CompressError;
use crate::compress::samples::Samples;
use crate::compress::setting::Setting;
use crate::compress::student::{Student, boundary};
use crate::exec::{Executor, RunOptions};

/// Bytes of values that are kept, at most; the images beyond them are computed from the start each time.
const KEPT_BYTES: usize = 128 << 20;

/// The values of one network between two of its nodes, on some images: those that nodes behind read from nodes ahead.
///
/// They stay valid if layers behind are changed. A [walk](Frontier::walk) that needs values from further ahead starts again
/// from the images.
pub struct Frontier {
    /// Bytes that may be kept.
    room: usize,
    /// Index of the first node that is not computed.
    at: usize,
    /// Names of the values.
    names: Vec<String>,
    /// The values themselves, batch by batch; `None` if they exceeded the budget.
    batches: Vec<Option<Vec<Tensor>>>,
}

/// How far a student and its teacher have been computed for the refits before.
pub struct Known<'t> {
    /// The teacher, on the images fitted on.
    pub teacher: &'t mut Frontier,
    /// The student, on the images fitted on.
    pub student: Frontier,
    /// The student, on the validation images.
    pub deciding: Frontier,
}

impl<'t> Known<'t> {
    /// Nothing of the student.
    pub fn of_teacher(teacher: &'t mut Frontier) -> Self {
        Self { teacher, student: Frontier::default(), deciding: Frontier::default() }
    }
}

/// A network and the images that it is evaluated on, the same in every walk of one frontier.
pub(super) struct Evaluated<'a> {
    /// The network's only input.
    pub(super) input: &'a str,
    pub(super) network: &'a Student,
    pub(super) samples: &'a Samples,
    /// Indices into the samples.
    pub(super) images: &'a [i64],
}

impl<'a> Evaluated<'a> {
    /// About the images fitted on.
    pub(super) fn to_fit(setting: &Setting<'a>, network: &'a Student) -> Self {
        Self::about(setting, network, &setting.samples.fit)
    }

    /// The first of the validation images.
    pub(super) fn to_decide(setting: &Setting<'a>, network: &'a Student, most: usize) -> Self {
        let images = setting.samples.deciding();
        Self::about(setting, network, &images[..images.len().min(most)])
    }

    fn about(setting: &Setting<'a>, network: &'a Student, images: &'a [i64]) -> Self {
        Self { input: &setting.network.input.name, network, samples: setting.samples, images }
    }

    /// The images, a batch at a time.
    pub(super) fn batches(&self) -> impl Iterator<Item = &[i64]> {
        self.images.chunks(self.samples.evaluation_batch())
    }
}

/// One pass over all batches. The frontier it belongs to is empty until it is [finished](Walk::finish), so that one that was
/// broken off leaves nothing that does not fit together.
pub(super) struct Walk<'a> {
    frontier: &'a mut Frontier,
    asked: &'a Evaluated<'a>,
    before: Frontier,
    after: Frontier,
    kept_bytes: usize,
    from_before: Executor,
    from_input: Executor,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::with_room(KEPT_BYTES)
    }
}

impl Frontier {
    /// Nothing is computed, and so many bytes may be kept.
    fn with_room(room: usize) -> Self {
        Self { room, at: 0, names: Vec::new(), batches: Vec::new() }
    }

    /// Computes `wanted`, and moves on to a place behind which all of them are, not further than the node at `furthest`.
    pub(super) fn walk<'a>(
        &'a mut self,
        asked: &'a Evaluated<'a>,
        wanted: &[&str],
        furthest: usize,
    ) -> Result<Walk<'a>, CompressError> {
        let Student { graph, taps, .. } = asked.network;
        let spans = Spans::of(asked.network);
        let last = furthest.min(wanted.iter().map(|value| spans.last_reader(value)).min().unwrap_or(0));
        let room = self.room;
        let mut before = mem::replace(self, Self::with_room(room));
        if before.at > last {
            before = Self::with_room(room);
        }
        let at = spans.narrowest(before.at, last);
        let names = boundary::values_at(graph, at, taps);
        let to: Vec<&str> = names.iter().map(String::as_str).chain(wanted.iter().copied()).collect();
        let from_input = Executor::new(graph, &[asked.input], &to)?;
        let from_before = match before.at {
            0 => from_input.clone(),
            _ => Executor::new(graph, &before.names.iter().map(String::as_str).collect::<Vec<_>>(), &to)?,
        };
        let after = Self { at, names, ..Self::with_room(room) };
        Ok(Walk { frontier: self, asked, before, after, kept_bytes: 0, from_before, from_input })
    }
}

impl Walk<'_> {
    /// The wanted values of the next batch, which are these images.
    pub(super) fn batch(&mut self, images: &[i64]) -> Result<Vec<Tensor>, CompressError> {
        let Evaluated { input, network, samples, .. } = self.asked;
        let kept = self.before.batches.get_mut(self.after.batches.len()).and_then(Option::take);
        let mut values = tch::no_grad(|| match kept {
            Some(kept) => {
                let fed: Vec<(&str, &Tensor)> = self.before.names.iter().map(String::as_str).zip(&kept).collect();
                Ok::<_, CompressError>(self.from_before.run(&network.params, &fed, &RunOptions::INFERENCE)?)
            }
            None => {
                let images = samples.select(images)?.f_to_device(network.params.device())?;
                Ok(self.from_input.run(&network.params, &[(input, &images)], &RunOptions::INFERENCE)?)
            }
        })?;
        let wanted = values.split_off(self.after.names.len());
        let bytes: usize = values.iter().map(|value| value.numel() * 4).sum();
        self.kept_bytes += bytes;
        self.after.batches.push((self.kept_bytes <= self.after.room).then_some(values));
        Ok(wanted)
    }

    /// Moves the frontier to the end of the walk.
    pub(super) fn finish(self) {
        *self.frontier = self.after;
    }
}

/// Between which nodes each value of a network is kept: from the index behind its producer to that of its last reader, and
/// a tap to the end.
struct Spans<'n>(BTreeMap<&'n str, (usize, usize)>);

impl<'n> Spans<'n> {
    fn of(network: &'n Student) -> Self {
        let Student { graph, taps, .. } = network;
        let inputs = graph.inputs.iter().map(|input| (input.name.as_str(), 0));
        let produced = graph.producers().into_iter().map(|(value, at)| (value, at + 1));
        let consumers = graph.consumers();
        let span = |(value, born): (&'n str, usize)| {
            let last = match consumers.get(value).and_then(|readers| readers.last()) {
                _ if taps.iter().any(|tap| tap == value) => graph.nodes.len(),
                Some(reader) => *reader,
                None => born.saturating_sub(1),
            };
            (value, (born, last))
        };
        Self(inputs.chain(produced).map(span).collect())
    }

    /// Index of the last node ahead of which the network may be cut so that the value is computed behind it, or crosses it.
    fn last_reader(&self, value: &str) -> usize {
        self.0.get(value).map_or(0, |(_, last)| *last)
    }

    /// The place between two nodes that the fewest values cross, the last of those.
    fn narrowest(&self, from: usize, to: usize) -> usize {
        let mut crossing = vec![0; to - from + 1];
        for (born, last) in self.0.values() {
            for at in from.max(*born)..=to.min(*last) {
                crossing[at - from] += 1;
            }
        }
        (from..=to).min_by_key(|at| (crossing[at - from], Reverse(*at))).expect("a range that is not empty")
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use crate::graph::{DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};

    use super::*;

    /// `sum = ahead·x + relu(ahead·x)`, `out = sum + relu(behind·sum)`.
    fn network() -> Student {
        let node = |op: &str, inputs: &[&str], output: &str| Node {
            op: op.into(),
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            outputs: vec![output.into()],
            ..Node::default()
        };
        let shape = [Dim::Symbol("N".into()), Dim::Known(1), Dim::Known(2), Dim::Known(2)];
        let ty = ValueType { dtype: DataType::Float32, shape: Some(shape.to_vec()) };
        let weight = |name: &str, value: f32| (name.to_owned(), TensorData::from_f32(&[1], &[value]).into());
        let graph = Graph {
            opsets: [(String::new(), 17)].into(),
            inputs: vec![ValueInfo { name: "x".into(), ty }],
            nodes: vec![
                node("Mul", &["x", "ahead"], "scaled"),
                node("Relu", &["scaled"], "positive"),
                node("Add", &["scaled", "positive"], "sum"),
                node("Mul", &["sum", "behind"], "branch"),
                node("Relu", &["branch"], "cut"),
                node("Add", &["sum", "cut"], "out"),
            ],
            initializers: [weight("ahead", 2.0), weight("behind", -1.0)].into_iter().collect(),
            ..Graph::default()
        };
        Student::of(graph, vec!["out".into()], crate::exec::Device::Cpu).expect("a network")
    }

    fn samples() -> Samples {
        tch::manual_seed(4);
        Samples {
            images: Tensor::randn([3, 1, 600, 600], (Kind::Float, Device::Cpu)),
            fit: vec![2, 0, 1],
            held_out: Vec::new(),
            repeated: 0,
            black: vec![0.0],
            mixtures: false,
            made: false,
        }
    }

    fn walked(frontier: &mut Frontier, network: &Student, samples: &Samples, wanted: &str) -> Tensor {
        let asked = Evaluated { input: "x", network, samples, images: &samples.fit };
        let mut walk = frontier.walk(&asked, &[wanted], usize::MAX).expect("a place");
        let batches = asked.batches().map(|images| walk.batch(images).expect("computes").remove(0));
        let all: Vec<Tensor> = batches.collect();
        walk.finish();
        Tensor::cat(&all, 0)
    }

    fn set(network: &mut Student, weight: &str, value: f32) {
        network.params.set(weight, Tensor::from_slice(&[value]));
    }

    #[test]
    fn a_walk_goes_on_from_kept_values_and_sees_what_has_changed_behind_them() {
        let (mut network, samples, mut frontier) = (network(), samples(), Frontier::default());
        let before = walked(&mut frontier, &network, &samples, "branch");
        assert!(before.equal(&walked(&mut Frontier::default(), &network, &samples, "branch")));
        assert_eq!((frontier.at, frontier.names.as_slice()), (3, ["sum".to_owned()].as_slice()));
        set(&mut network, "ahead", 5.0);
        set(&mut network, "behind", -3.0);
        assert!(walked(&mut frontier, &network, &samples, "branch").equal(&(before * 3.0)), "from the kept sum");
    }

    #[test]
    fn a_walk_towards_what_is_ahead_starts_anew() {
        let (mut network, samples, mut frontier) = (network(), samples(), Frontier::default());
        let _ = walked(&mut frontier, &network, &samples, "branch");
        set(&mut network, "ahead", 5.0);
        let positive = walked(&mut frontier, &network, &samples, "positive");
        assert!(positive.equal(&walked(&mut Frontier::default(), &network, &samples, "positive")));
    }

    #[test]
    fn images_without_room_are_computed_from_the_start() {
        let (mut network, samples) = (network(), samples());
        let mut frontier = Frontier::with_room(600 * 600 * 4);
        let before = walked(&mut frontier, &network, &samples, "branch");
        assert_eq!(frontier.batches.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
        set(&mut network, "ahead", 4.0);
        let after = walked(&mut frontier, &network, &samples, "branch");
        assert!(after.get(0).equal(&before.get(0)) && after.get(1).equal(&(before.get(1) * 2.0)));
    }

    #[test]
    fn a_walk_that_is_broken_off_leaves_nothing() {
        let (network, samples, mut frontier) = (network(), samples(), Frontier::default());
        let _ = walked(&mut frontier, &network, &samples, "branch");
        let asked = Evaluated { input: "x", network: &network, samples: &samples, images: &samples.fit };
        frontier.walk(&asked, &["out"], usize::MAX).expect("a place").batch(&[2]).expect("computes");
        assert_eq!((frontier.at, frontier.batches.len()), (0, 0));
    }
}
