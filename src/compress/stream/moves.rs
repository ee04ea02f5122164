//! Operators that put the same elements elsewhere, and the way back.

use tch::Tensor;

use crate::compress::CompressError;
use crate::graph::{Dim, Graph, Node};

/// An operator that puts the same elements elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// `Transpose`, by its permutation.
    Transpose(Vec<usize>),
    /// `Reshape`, by the shape ahead of it; the one size that the batch decides is `None`.
    Reshape(Vec<Option<usize>>),
    /// Round along an axis by so many places, as Swin shifts its windows: the `Concat` of two `Slice`s of one value.
    Roll {
        /// The axis.
        axis: usize,
        /// How many elements went from the front to the back.
        by: usize,
    },
}

impl Move {
    /// The move that a node makes; `None` of any other node, and where more than the batch is free in what it moves.
    pub fn of(graph: &Graph, node: &Node) -> Option<Self> {
        if node.is("Concat") {
            return rolled(graph, node).map(|(_, roll)| roll);
        }
        let before: Vec<Option<usize>> = graph.shape(node.input(0)?)?.iter().map(Dim::known).collect();
        match node.op.as_str() {
            "Transpose" => Some(Self::Transpose(permutation(node, before.len())?)),
            "Reshape" if before.iter().filter(|size| size.is_none()).count() == 1 => Some(Self::Reshape(before)),
            _ => None,
        }
    }

    /// Back through the move.
    fn undo(&self, value: &Tensor) -> Result<Tensor, CompressError> {
        Ok(match self {
            Self::Transpose(order) => {
                let from = |axis: usize| order.iter().position(|from| *from == axis).expect("a permutation") as i64;
                value.f_permute((0..order.len()).map(from).collect::<Vec<i64>>())?
            }
            Self::Reshape(before) => {
                let sizes: Vec<i64> = before.iter().map(|size| size.map_or(-1, |size| size as i64)).collect();
                value.f_reshape(sizes)?
            }
            Self::Roll { axis, by } => value.f_roll([*by as i64], [*axis as i64])?,
        })
    }
}

/// Back through moves that are given in the order of computation.
pub(crate) fn undo(moves: &[Move], value: &Tensor) -> Result<Tensor, CompressError> {
    moves.iter().rev().try_fold(value.shallow_clone(), |value, step| step.undo(&value))
}

fn permutation(node: &Node, rank: usize) -> Option<Vec<usize>> {
    let Some(given) = node.attrs.ints("perm") else { return Some((0..rank).rev().collect()) };
    let order: Option<Vec<usize>> = given.iter().map(|axis| usize::try_from(*axis).ok()).collect();
    order.filter(|order| order.len() == rank && (0..rank).all(|axis| order.contains(&axis)))
}

/// Where a move carries the axis; `None` where a `Reshape` splits it or joins it with another.
pub(in crate::compress) fn carried(graph: &Graph, node: &Node, axis: usize) -> Option<usize> {
    if let Some((_, Move::Roll { axis: rolled, .. })) = rolled(graph, node) {
        return (rolled != axis).then_some(axis);
    }
    let (before, after) = (graph.shape(node.input(0)?)?, graph.shape(node.output())?);
    if node.is("Transpose") {
        return permutation(node, before.len())?.iter().position(|from| *from == axis);
    }
    let behind = |shape: &[Dim], axis: usize| shape[axis + 1..].iter().map(Dim::known).product::<Option<usize>>();
    let inner = behind(&before, axis)?;
    (0..after.len()).find(|at| after[*at] == before[axis] && behind(&after, *at) == Some(inner))
}

/// The value that a `Concat` rolls and the roll, where it puts the back of one value ahead of the front of it.
pub(in crate::compress) fn rolled<'g>(graph: &'g Graph, node: &Node) -> Option<(&'g str, Move)> {
    let [back, front] = node.inputs.as_slice() else { return None };
    let (back, front) = (Cut::of(graph, back)?, Cut::of(graph, front)?);
    let rank = graph.shape(node.output())?.len();
    let joined = node.attrs.int("axis", 0);
    let joined = usize::try_from(if joined < 0 { joined + rank as i64 } else { joined }).ok()?;
    let meets = back.value == front.value && [back.axis, front.axis] == [joined; 2];
    let whole = front.from == 0 && front.to == back.from && back.to == back.size;
    (node.is("Concat") && meets && whole).then_some((back.value, Move::Roll { axis: joined, by: back.from }))
}

/// What a `Slice` along one axis takes.
struct Cut<'g> {
    value: &'g str,
    axis: usize,
    from: usize,
    to: usize,
    size: usize,
}

impl<'g> Cut<'g> {
    fn of(graph: &'g Graph, output: &str) -> Option<Self> {
        let node = graph.nodes.iter().find(|node| node.is("Slice") && node.output() == output)?;
        let one = |index: usize| match graph.initializers.get(node.input(index)?)?.to_i64()?.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let shape = graph.shape(&node.inputs[0])?;
        let axis = usize::try_from(one(3)?).ok()?;
        let size = shape.get(axis)?.known()?;
        let place = |at: i64| (if at < 0 { at.saturating_add(size as i64) } else { at }).clamp(0, size as i64) as usize;
        let forward = node.input(4).is_none() || one(4) == Some(1);
        let cut = Self { value: &node.inputs[0], axis, from: place(one(1)?), to: place(one(2)?), size };
        forward.then_some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Attribute, DataType, TensorData, ValueInfo, ValueType};

    /// (N, 4, 6) → `Reshape` → (N, 2, 2, 6) → `Transpose` → (N, 6, 2, 2).
    fn graph() -> Graph {
        let shape = |rest: &[usize]| {
            let sizes = std::iter::once(Dim::Symbol("N".into())).chain(rest.iter().copied().map(Dim::Known));
            ValueType { dtype: DataType::Float32, shape: Some(sizes.collect()) }
        };
        let node = |op: &str, inputs: &[&str], output: &str| Node {
            op: op.into(),
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            outputs: vec![output.into()],
            ..Node::default()
        };
        let mut turn = node("Transpose", &["split"], "turned");
        turn.attrs.set("perm", Attribute::Ints(vec![0, 3, 1, 2]));
        Graph {
            inputs: vec![ValueInfo { name: "x".into(), ty: shape(&[4, 6]) }],
            nodes: vec![node("Reshape", &["x", "sizes"], "split"), turn],
            initializers: [("sizes".to_owned(), TensorData::from_i64(&[4], &[0, 2, 2, 6]).into())]
                .into_iter()
                .collect(),
            values: [("split".to_owned(), shape(&[2, 2, 6])), ("turned".to_owned(), shape(&[6, 2, 2]))].into(),
            ..Graph::default()
        }
    }

    #[test]
    fn moves_are_undone_from_the_last_to_the_first() {
        let graph = graph();
        let moves: Vec<Move> = graph.nodes.iter().map(|node| Move::of(&graph, node).expect("a move")).collect();
        let x = Tensor::arange(3 * 4 * 6, (tch::Kind::Float, tch::Device::Cpu)).view([3, 4, 6]);
        let moved = x.view([3, 2, 2, 6]).permute([0, 3, 1, 2]);
        assert!(undo(&moves, &moved).expect("the same elements").equal(&x));
    }

    #[test]
    fn an_axis_is_followed_until_a_reshape_splits_it() {
        let graph = graph();
        let [split, turn] = graph.nodes.as_slice() else { panic!("two nodes") };
        assert_eq!((carried(&graph, split, 2), carried(&graph, turn, 3)), (Some(3), Some(1)));
        assert_eq!(carried(&graph, split, 1), None, "4 became 2 × 2");
    }
}
