//! Names of blocks that a customer recognises: the module of the addition, or the common prefix of the names in the branch.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::{Graph, Node};

/// Name of the nodes with these indices: the common prefix of their weights' names (`layer2.1`), else of their own names.
pub fn of_region(graph: &Graph, region: &BTreeSet<usize>) -> String {
    let nodes: Vec<&Node> = region.iter().map(|index| &graph.nodes[*index]).collect();
    let weights = nodes.iter().filter_map(|node| weight(graph, node)).filter(|name| telling(name));
    common_prefix(weights)
        .or_else(|| common_prefix(nodes.iter().map(|node| node.name.as_str()).filter(|name| telling(name))))
        .unwrap_or_else(|| "block".into())
}

/// The module of the addition, from the exporter's metadata or the scopes in the node's name (`/layer1/layer1.0/Add`); `None`
/// if neither exists.
pub fn module_of(add: &Node) -> Option<String> {
    if !add.scope.is_empty() {
        return Some(add.scope.clone());
    }
    let mut parts = if add.name.contains('/') { components(&add.name) } else { Vec::new() };
    parts.pop();
    (!parts.is_empty()).then(|| parts.join("."))
}

/// Names a block after the module of its addition if no other addition is in that module. The branch's own name can be too
/// narrow: the common prefix of its weights (`features.3.conv`), or of those that kept their names (`layer1.1.se`). Each name
/// comes with its module.
pub fn prefer_modules(names: Vec<(&mut String, Option<String>)>) {
    let mut standing: HashMap<String, usize> = HashMap::new();
    names.iter().filter_map(|(_, module)| module.clone()).for_each(|module| *standing.entry(module).or_default() += 1);
    for (name, module) in names {
        if let Some(module) = module.filter(|module| standing[module] == 1) {
            *name = module;
        }
    }
}

/// Numbers names that occur more than once: `block`, `block#2`, `block#3`, skipping names that are taken.
pub fn make_unique<'a>(names: impl Iterator<Item = &'a mut String>) {
    let names: Vec<&mut String> = names.collect();
    let mut taken: HashSet<String> = names.iter().map(|name| (**name).clone()).collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for name in names {
        let count = seen.entry(name.clone()).or_insert(0);
        *count += 1;
        while *count > 1 && !taken.insert(format!("{name}#{count}")) {
            *count += 1;
        }
        if *count > 1 {
            *name = format!("{name}#{count}");
        }
    }
}

/// The name of a node's weight, or of the bias of an `Add`: exporters transpose the weight of a linear layer and give it a
/// number, but the bias keeps its name.
fn weight<'g>(graph: &'g Graph, node: &'g Node) -> Option<&'g str> {
    match node.op.as_str() {
        "Conv" | "ConvTranspose" | "BatchNormalization" | "Gemm" | "MatMul" => node.input(1),
        "Add" => node.inputs.iter().map(String::as_str).find(|name| is_vector(graph, name)),
        _ => None,
    }
}

fn is_vector(graph: &Graph, name: &str) -> bool {
    graph.initializers.get(name).is_some_and(|data| data.dtype.is_float() && data.dims.len() == 1 && data.len() > 1)
}

/// Exporters number unnamed values (`onnx::Conv_123`, `val_7`, `node_Conv_347`); such names carry no information.
fn telling(name: &str) -> bool {
    !name.starts_with("onnx::") && name.contains(['.', '/'])
}

fn common_prefix<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut names = names.map(components);
    let mut prefix = names.next()?;
    // The last component is the tensor or operator itself, never the block.
    prefix.pop();
    for other in names {
        let shared = prefix.iter().zip(&other).take_while(|(a, b)| a == b).count();
        prefix.truncate(shared);
    }
    (!prefix.is_empty()).then(|| prefix.join("."))
}

/// `/layer1/layer1.0/conv1/Conv` → [layer1, 0, conv1, Conv]: exporters that write scopes repeat the outer scope in the
/// inner one, so a component that begins with the ones before it replaces them.
fn components(name: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    let mut scope = "";
    for part in name.split('/').filter(|part| !part.is_empty()) {
        let rest = part.strip_prefix(scope).and_then(|rest| rest.strip_prefix('.')).filter(|_| !scope.is_empty());
        parts.extend(rest.unwrap_or(part).split('.').filter(|part| !part.is_empty()));
        scope = part;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_weights_and_scoped_nodes_give_the_same_name() {
        let dotted = ["layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.conv2.weight"];
        let scoped = ["/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/bn1/BatchNormalization"];
        assert_eq!(common_prefix(dotted.into_iter()).as_deref(), Some("layer1.0"));
        assert_eq!(common_prefix(scoped.into_iter()).as_deref(), Some("layer1.0"));
        assert_eq!(
            common_prefix(["_blocks.2._expand_conv.weight", "_blocks.2._bn0.weight"].into_iter()).as_deref(),
            Some("_blocks.2")
        );
    }

    #[test]
    fn a_module_with_one_addition_gives_its_name() {
        let scoped =
            |name: &str, scope: &str| module_of(&Node { name: name.into(), scope: scope.into(), ..Node::default() });
        assert_eq!(scoped("/layer1/layer1.0/Add", "").as_deref(), Some("layer1.0"));
        assert_eq!(scoped("node_add_5", "features.1.1").as_deref(), Some("features.1.1"));
        assert_eq!([scoped("Add_12", ""), scoped("/Add_1", "")], [None, None]);
        let mut names = ["features.3.conv", "layers.0.attention", "layers.0.mlp", "block"].map(str::to_owned);
        let modules =
            [Some("features.3"), Some("layers.0"), Some("layers.0"), None].map(|name| name.map(str::to_owned));
        prefer_modules(names.iter_mut().zip(modules).collect());
        assert_eq!(names, ["features.3", "layers.0.attention", "layers.0.mlp", "block"]);
    }

    #[test]
    fn a_branch_of_one_weight_is_named_by_what_holds_it() {
        assert_eq!(common_prefix(["stage.4.conv.weight"].into_iter()).as_deref(), Some("stage.4.conv"));
    }

    #[test]
    fn names_without_anything_in_common_tell_nothing() {
        assert_eq!(common_prefix(["a.w", "b.w"].into_iter()), None);
        assert!(!telling("onnx::Conv_123") && !telling("node_Conv_347"));
    }

    #[test]
    fn repeated_names_are_numbered() {
        let mut names = ["block".to_owned(), "block".to_owned(), "other".to_owned(), "block".to_owned()];
        make_unique(names.iter_mut());
        assert_eq!(names, ["block", "block#2", "other", "block#3"]);
        let mut names = ["a", "a#2", "a", "a#2", "a"].map(str::to_owned);
        make_unique(names.iter_mut());
        assert_eq!(names, ["a", "a#2", "a#3", "a#2#2", "a#4"]);
    }
}
