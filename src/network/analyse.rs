//! Analysis of a network without running it.

use super::Network;
use crate::network::NetworkError;
use crate::spec::analysis::Analysis;
use crate::spec::inputs::{Given, Value, Word};

/// Maximum number of inputs that are tried as image input.
const MOST_ALTERNATIVES: usize = 4;

/// Reads a network and finds its blocks. Unsupported operators are all reported at once.
pub fn analyse(model: &[u8]) -> Result<Analysis, NetworkError> {
    let mut analysis = Network::load(model)?.analysis();
    let others = analysis.other_inputs.iter().filter(|input| input.may_take_images).take(MOST_ALTERNATIVES);
    // If the network does not load with it, the input cannot take images.
    let looked = others.filter_map(|input| Network::load_with(model, &giving_images_to(&input.name)).ok());
    let alternatives: Vec<Analysis> = looked.map(|network| network.analysis()).collect();
    for input in &mut analysis.other_inputs {
        input.may_take_images = alternatives.iter().any(|alternative| alternative.image_input == input.name);
    }
    Ok(Analysis { alternatives, ..analysis })
}

/// The job's values that feed the images to this input.
fn giving_images_to(input: &str) -> Given {
    Given::from([(input.to_owned(), Value::Word(Word::Images))])
}
