//! Networks of others, re-created from public reports, where they lie next to the project.

use std::path::{Path, PathBuf};

use practised::network::analyse::analyse;
use practised::spec::analysis::Analysis;

use crate::neutral::dropping_is_exact;
use crate::support::noise;

fn case(name: &str) -> Option<Vec<u8>> {
    let next_to_us = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("PRACTISED_SHARED").map_or(next_to_us, PathBuf::from).join("cases");
    if !folder.exists() {
        println!("skipped: no ../shared");
        return None;
    }
    Some(std::fs::read(folder.join(format!("{name}.onnx"))).expect("a case"))
}

/// Residual additions, and how many of them can be dropped.
const COUNTS: &[(&str, usize, usize)] = &[
    ("c04_drunet", 7, 7),
    ("c06_arcface", 6, 4),
    ("c09_fp16_storage", 6, 6),
    ("c11_if", 6, 6),
    ("c15_siamese", 6, 6),
    ("c15_two_scales", 6, 6),
    ("c16_recursive", 2, 2),
    ("c36_topk_labels_first", 6, 6),
    ("c36_unet_argmax", 6, 6),
    ("c38_argmax_and_prob", 6, 6),
    ("c38_label_then_prob", 6, 6),
    ("c45_optimum_resnet", 6, 5),
    ("c46_ir", 7, 5),
    ("c46_irse", 7, 5),
    ("c47_keras_torch", 6, 6),
    ("c48_cast", 6, 6),
    ("c48_maxpool1", 6, 6),
    ("c48_mul1", 6, 6),
    ("c48_pad0", 6, 6),
    ("c48_transpose_pair", 6, 6),
    ("mnv3_detection_plain", 10, 10),
    ("probe_level", 0, 0),
];

fn counts(analysis: &Analysis) -> (usize, usize) {
    (analysis.blocks.len(), analysis.blocks.iter().filter(|block| block.droppable).count())
}

#[test]
fn every_case_shows_the_blocks_that_it_has() {
    let mut wrong = Vec::new();
    for (name, blocks, droppable) in COUNTS {
        let Some(file) = case(name) else { return };
        match analyse(&file) {
            Ok(analysis) if counts(&analysis) == (*blocks, *droppable) => {}
            Ok(analysis) => wrong.push(format!("{name}: {:?}", counts(&analysis))),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_that_is_refused_is_refused_for_what_is_wrong_with_it() {
    for (name, code, says, not) in [
        ("c51_unknown_op_fixed_batch", "operators_unsupported", "QuickGelu", "batch"),
        ("c06_arcface_slopeC", "model_invalid", "PRelu", "batch"),
    ] {
        let Some(file) = case(name) else { return };
        let error = analyse(&file).expect_err(name);
        let said = error.to_string();
        assert!(
            error.code().as_str() == code && said.contains(says) && !said.contains(not),
            "{name}: {:?}: {said}",
            error.code()
        );
    }
}

#[test]
fn every_droppable_block_of_the_cases_goes_exactly() {
    for (name, _, droppable) in COUNTS.iter().filter(|(name, ..)| ["c46", "c47", "c48"].contains(&&name[..3])) {
        let Some(file) = case(name) else { return };
        assert_eq!(dropping_is_exact(&file, &noise(&[2, 3, 32, 32], 5), name), *droppable, "{name}");
    }
}
