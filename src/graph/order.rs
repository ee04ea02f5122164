//! Topological order: every value is written before it is read.

use std::collections::BTreeMap;

use super::error::{GraphError, GraphFault};
use super::model::{Graph, Node};

/// Sorts the nodes so that each stands behind those it reads from. A sorted graph stays as it is, and a node that has
/// to move goes right before its first reader, so that inserted nodes land in their place. Fails on a cycle.
pub fn sort(graph: &mut Graph) -> Result<(), GraphError> {
    let order = order(graph)?;
    let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(())
}

/// Indices of the nodes in the order that [`sort`] would give them.
pub fn order(graph: &Graph) -> Result<Vec<usize>, GraphError> {
    let mut walk = Walk {
        nodes: &graph.nodes,
        producers: graph.producers(),
        state: vec![State::New; graph.nodes.len()],
        order: Vec::with_capacity(graph.nodes.len()),
    };
    (0..graph.nodes.len()).try_for_each(|i| walk.visit(i))?;
    Ok(walk.order)
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Walk<'a> {
    nodes: &'a [Node],
    producers: BTreeMap<&'a str, usize>,
    state: Vec<State>,
    order: Vec<usize>,
}

impl Walk<'_> {
    /// Depth first, with a stack of our own: a chain of a million nodes must not overflow the thread's.
    fn visit(&mut self, start: usize) -> Result<(), GraphError> {
        if self.state[start] != State::New {
            return Ok(());
        }
        self.state[start] = State::Open;
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.last_mut() {
            let Some(input) = self.nodes[*node].inputs.get(*next) else {
                self.state[*node] = State::Done;
                self.order.push(*node);
                stack.pop();
                continue;
            };
            *next += 1;
            let Some(&producer) = self.producers.get(input.as_str()) else { continue };
            match self.state[producer] {
                State::Done => {}
                State::New => {
                    self.state[producer] = State::Open;
                    stack.push((producer, 0));
                }
                State::Open => return Err(self.cycle(&stack, producer)),
            }
        }
        Ok(())
    }

    fn cycle(&self, stack: &[(usize, usize)], entry: usize) -> GraphError {
        const SHOWN: usize = 12;
        let from = stack.iter().position(|(node, _)| *node == entry).unwrap_or(0);
        // The stack runs from reader to producer; data flows the other way.
        let members: Vec<&str> = stack[from..].iter().rev().map(|(node, _)| self.nodes[*node].label()).collect();
        let mut shown = members.iter().take(SHOWN).copied().collect::<Vec<_>>().join(" → ");
        if members.len() > SHOWN {
            shown.push_str(&format!(" → … ({} nodes)", members.len()));
        }
        let detail = format!("the nodes form a cycle: {shown} → {}", members[0]);
        GraphFault::at(&self.nodes[entry], detail, "a network must not contain cycles; export it again").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inputs: &[&str]) -> Node {
        Node {
            name: name.into(),
            op: "Relu".into(),
            inputs: inputs.iter().map(|s| (*s).to_owned()).collect(),
            outputs: vec![format!("{name}.out")],
            ..Node::default()
        }
    }

    fn sorted(nodes: Vec<Node>) -> Vec<String> {
        let mut graph = Graph { nodes, ..Graph::default() };
        sort(&mut graph).expect("no cycle");
        graph.nodes.into_iter().map(|n| n.name).collect()
    }

    #[test]
    fn a_sorted_graph_stays_as_it_is() {
        let nodes = vec![node("b", &["x"]), node("a", &["x"]), node("c", &["a.out", "b.out"]), node("d", &["b.out"])];
        assert_eq!(sorted(nodes), ["b", "a", "c", "d"]);
    }

    #[test]
    fn an_appended_producer_moves_right_before_its_first_reader() {
        let nodes = vec![
            node("a", &["x"]),
            node("b", &["x"]),
            node("c", &["new.out"]),
            node("d", &["c.out"]),
            node("new", &["a.out"]),
        ];
        assert_eq!(sorted(nodes), ["a", "b", "new", "c", "d"]);
    }

    #[test]
    fn a_cycle_names_its_nodes_in_the_order_of_the_data() {
        let nodes =
            vec![node("a", &["x"]), node("b", &["a.out", "d.out"]), node("c", &["b.out"]), node("d", &["c.out"])];
        let error = sort(&mut Graph { nodes, ..Graph::default() }).expect_err("b, c and d form a cycle").to_string();
        assert!(error.contains("c → d → b") || error.contains("b → c → d"), "{error}");
        assert!(!error.contains("a →"), "{error}");
    }

    #[test]
    fn a_very_long_chain_does_not_overflow_the_stack() {
        let mut nodes: Vec<Node> = (1..50_000).map(|i| node(&i.to_string(), &[&format!("{}.out", i - 1)])).collect();
        nodes.reverse();
        assert_eq!(sorted(nodes).first().map(String::as_str), Some("1"));
    }
}
