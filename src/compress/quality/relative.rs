//! Errors as a share of the best constant answer's: 0 is the teacher, 1 is no better than a constant.
//!
//! A mean squared error alone has no scale: 0.0002 is negligible for features around 1, and large for heat maps that are 0
//! almost everywhere. The best constant answer is the teacher's mean over the images, element by element, and its error is
//! the teacher's variance over them.
//!
//! Of whole numbers and truth values (labels, masks) the error is the share of elements that differ, and the best constant answer is
//! the most frequent one.

use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::samples::Samples;
use crate::compress::student::Student;
use crate::exec::{Executor, RunOptions};
use crate::network::Network;

/// Variance over images, as a share of the mean square, that is no more than rounding.
pub const CONSTANT: f64 = 1e-10;

/// Variance of a student's outputs, as a share of its teacher's, below which they count as constant.
const FLAT: f64 = 1e-4;

/// An error as a share of that of the best constant answer; `None` if that is not known, or as good as 0.
pub fn share(error: f64, constant: Option<f64>) -> Option<f64> {
    constant.filter(|constant| *constant > 0.0).map(|constant| error / constant)
}

/// Feature loss of the best constant answer about the images of these features, (n, …) each, averaged over the taps; 0 if the
/// features are the same for all images. `None` for fewer than two.
pub fn constant_loss(features: &[Tensor]) -> Result<Option<f64>, CompressError> {
    let mut sum = 0.0;
    for tap in features {
        if tap.size()[0] < 2 {
            return Ok(None);
        }
        let variance = tap.f_var_dim([0].as_slice(), false, false)?.f_mean(Kind::Double)?.f_double_value(&[])?;
        let size = tap.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?;
        sum += if variance > CONSTANT * size { variance } else { 0.0 };
    }
    Ok(Some(sum / features.len().max(1) as f64))
}

/// One output of a teacher on some images, and how far its students are from it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputErrors {
    /// Name of the output.
    pub name: String,
    /// Error of the best constant answer; 0 if the teacher is constant, `None` for fewer than two images.
    pub constant: Option<f64>,
    /// Error of each student, in their order.
    pub errors: Vec<f64>,
    /// How far the answers of each student follow the teacher's over the images, every element about its mean: 1 in step with them, 0
    /// not at all or always the same, below 0 the other way round. Of labels, 1 less the share of the best constant's error.
    pub correlations: Vec<f64>,
}

impl OutputErrors {
    /// Error of one of the students as a share of that of the best constant answer.
    pub fn share(&self, student: usize) -> Option<f64> {
        share(*self.errors.get(student)?, self.constant)
    }
}

/// Every output that images change, of the teacher and of these students, on these samples.
pub fn of_outputs(
    network: &Network,
    teacher: &Student,
    students: &[&Student],
    samples: &Samples,
    indices: &[i64],
) -> Result<Vec<OutputErrors>, CompressError> {
    let names: Vec<&str> = network.outputs.iter().map(|output| output.name.as_str()).collect();
    let input = network.input.name.as_str();
    let all: Vec<&Student> = std::iter::once(teacher).chain(students.iter().copied()).collect();
    let executors = all.iter().map(|student| Executor::new(&student.graph, &[input], &names));
    let executors = executors.collect::<Result<Vec<_>, _>>()?;
    let mut sums: Vec<Option<Counted>> = names.iter().map(|_| None).collect();
    for chunk in indices.chunks(samples.evaluation_batch()) {
        let images = samples.select(chunk)?;
        let mut answers = Vec::with_capacity(all.len());
        for (student, executor) in all.iter().zip(&executors) {
            let images = images.f_to_device(student.params.device())?;
            let values = tch::no_grad(|| executor.run(&student.params, &[(input, &images)], &RunOptions::INFERENCE))?;
            answers
                .push(values.iter().map(|value| value.f_to_device(tch::Device::Cpu)).collect::<Result<Vec<_>, _>>()?);
        }
        let (of_teacher, of_students) = answers.split_first().expect("the teacher's");
        for (at, sum) in sums.iter_mut().enumerate() {
            let of_students: Vec<&Tensor> = of_students.iter().map(|values| &values[at]).collect();
            let sum = match sum {
                Some(sum) => sum,
                None => sum.insert(Counted::new(&of_teacher[at], students.len())?),
            };
            sum.add(&of_teacher[at], &of_students)?;
        }
    }
    names.iter().zip(sums).filter_map(|(name, sums)| sums.map(|sums| sums.errors(name))).collect()
}

/// Running sums over an output.
enum Counted {
    Numbers(Sums),
    Labels(Labels),
}

impl Counted {
    fn new(answers: &Tensor, students: usize) -> Result<Self, CompressError> {
        Ok(match answers.is_floating_point() {
            true => Self::Numbers(Sums::new(&answers.f_to_kind(Kind::Double)?, students)?),
            false => Self::Labels(Labels { teacher: Vec::new(), differing: vec![0.0; students] }),
        })
    }

    fn add(&mut self, teacher: &Tensor, students: &[&Tensor]) -> Result<(), CompressError> {
        match self {
            Self::Numbers(sums) => {
                let wide = students.iter().map(|student| student.f_to_kind(Kind::Double));
                let wide = wide.collect::<Result<Vec<_>, _>>()?;
                sums.add(&teacher.f_to_kind(Kind::Double)?, &wide.iter().collect::<Vec<_>>())
            }
            Self::Labels(labels) => labels.add(teacher, students),
        }
    }

    fn errors(self, name: &str) -> Result<OutputErrors, CompressError> {
        match self {
            Self::Numbers(sums) => sums.errors(name),
            Self::Labels(labels) => labels.errors(name),
        }
    }
}

/// Integers: all of the teacher's are stored, because sums do not determine the most frequent ones.
struct Labels {
    teacher: Vec<Tensor>,
    /// Elements of each student's that differ.
    differing: Vec<f64>,
}

impl Labels {
    fn add(&mut self, teacher: &Tensor, students: &[&Tensor]) -> Result<(), CompressError> {
        for (sum, student) in self.differing.iter_mut().zip(students) {
            *sum += differing(student, teacher)?;
        }
        self.teacher.push(teacher.f_to_kind(Kind::Int)?);
        Ok(())
    }

    fn errors(self, name: &str) -> Result<OutputErrors, CompressError> {
        let all = Tensor::f_cat(&self.teacher, 0)?;
        let count = all.numel().max(1) as f64;
        let (most_frequent, _) = all.f_mode(0, true)?;
        let of_constant = differing(&most_frequent.f_expand_as(&all)?, &all)? / count;
        let constant = (all.size()[0] > 1).then_some(of_constant);
        let errors: Vec<f64> = self.differing.iter().map(|sum| sum / count).collect();
        let correlations = errors.iter().map(|error| 1.0 - share(*error, constant).unwrap_or(1.0)).collect();
        Ok(OutputErrors { name: name.to_owned(), constant, errors, correlations })
    }
}

/// How many elements differ.
fn differing(a: &Tensor, b: &Tensor) -> Result<f64, CompressError> {
    Ok(a.f_ne_tensor(b)?.f_sum(Kind::Double)?.f_double_value(&[])?)
}

/// Sums over images, f64, as far as the teacher's answers are finite.
struct Sums {
    /// The first output, which is subtracted from all: otherwise sums of squares of nearly constant values would cancel.
    first: Tensor,
    teacher: Moments,
    students: Vec<OfStudent>,
    /// Sum of the teacher's squares, as they are.
    size: f64,
    images: i64,
    finite: f64,
}

/// Of values over images: the sum of each element, and the sum of all squares.
struct Moments {
    sum: Tensor,
    squares: f64,
}

/// Of one student's answers.
struct OfStudent {
    own: Moments,
    /// Sum of the products with the teacher's.
    products: f64,
    /// Sum of the squared differences.
    error: f64,
}

impl Moments {
    fn new(like: &Tensor) -> Self {
        Self { sum: like.zeros_like(), squares: 0.0 }
    }

    fn add(&mut self, values: &Tensor) -> Result<(), CompressError> {
        self.sum += values.f_sum_dim_intlist([0].as_slice(), true, Kind::Double)?;
        self.squares += total(&values.f_square()?)?;
        Ok(())
    }

    /// The sum of products about the means, of `products` about nothing.
    fn about_mean(&self, other: &Self, products: f64, images: f64) -> Result<f64, CompressError> {
        Ok(products - total(&self.sum.f_mul(&other.sum)?)? / images)
    }
}

fn total(value: &Tensor) -> Result<f64, CompressError> {
    Ok(value.f_sum(Kind::Double)?.f_double_value(&[])?)
}

impl Sums {
    fn new(answers: &Tensor, students: usize) -> Result<Self, CompressError> {
        let first = finite_only(answers, &answers.f_narrow(0, 0, 1)?)?;
        let student = |_| OfStudent { own: Moments::new(&first), products: 0.0, error: 0.0 };
        let (teacher, students) = (Moments::new(&first), (0..students).map(student).collect());
        Ok(Self { first, teacher, students, size: 0.0, images: 0, finite: 0.0 })
    }

    fn add(&mut self, teacher: &Tensor, students: &[&Tensor]) -> Result<(), CompressError> {
        let apart = finite_only(teacher, &teacher.f_sub(&self.first)?)?;
        self.teacher.add(&apart)?;
        self.size += total(&finite_only(teacher, teacher)?.f_square()?)?;
        self.finite += total(&teacher.f_isfinite()?)?;
        self.images += teacher.size()[0];
        for (sums, student) in self.students.iter_mut().zip(students) {
            let own = finite_only(teacher, &student.f_sub(&self.first)?)?;
            sums.own.add(&own)?;
            sums.products += total(&own.f_mul(&apart)?)?;
            sums.error += total(&own.f_sub(&apart)?.f_square()?)?;
        }
        Ok(())
    }

    fn errors(self, name: &str) -> Result<OutputErrors, CompressError> {
        let (count, images) = (self.finite.max(1.0), self.images as f64);
        let variance = |of: &Moments| of.about_mean(of, of.squares, images);
        let of_teacher = variance(&self.teacher)?;
        let varies = of_teacher > CONSTANT * self.size;
        let constant = (self.images > 1).then_some(if varies { of_teacher / count } else { 0.0 });
        let correlation = |student: &OfStudent| -> Result<f64, CompressError> {
            let of_student = variance(&student.own)?;
            if !varies || of_student < FLAT * of_teacher {
                return Ok(0.0);
            }
            let both = self.teacher.about_mean(&student.own, student.products, images)?;
            Ok(both / (of_teacher * of_student).sqrt())
        };
        Ok(OutputErrors {
            name: name.to_owned(),
            constant,
            errors: self.students.iter().map(|student| student.error / count).collect(),
            correlations: self.students.iter().map(correlation).collect::<Result<_, _>>()?,
        })
    }
}

/// A value with 0 wherever the teacher's is not finite.
fn finite_only(teacher: &Tensor, value: &Tensor) -> Result<Tensor, CompressError> {
    let teacher = teacher.f_narrow(0, 0, value.size()[0])?;
    Ok(value.f_masked_fill(&teacher.f_isfinite()?.f_logical_not()?, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(teacher: &Tensor, students: &[&Tensor]) -> OutputErrors {
        let mut sums = Counted::new(teacher, students.len()).expect("computes");
        let half = teacher.size()[0] / 2;
        for (begin, count) in [(0, half), (half, teacher.size()[0] - half)] {
            let part = |value: &Tensor| value.narrow(0, begin, count);
            let students: Vec<Tensor> = students.iter().map(|student| part(student)).collect();
            sums.add(&part(teacher), &students.iter().collect::<Vec<_>>()).expect("computes");
        }
        sums.errors("y").expect("computes")
    }

    #[test]
    fn the_best_constant_answer_has_a_share_of_one_and_any_other_more() {
        tch::manual_seed(1);
        // Next to nothing, around a large offset.
        let teacher = (Tensor::randn([9, 5], (Kind::Double, tch::Device::Cpu)) * 1e-3 + 10.0).set_requires_grad(false);
        let mean = teacher.mean_dim([0].as_slice(), true, Kind::Double).expand([9, 5], false);
        let zeros = teacher.zeros_like();
        let found = sums(&teacher, &[&teacher, &mean, &zeros]);
        assert_eq!(found.share(0), Some(0.0));
        assert!((found.share(1).expect("a share") - 1.0).abs() < 1e-6, "{found:?}");
        assert!(found.share(2).expect("a share") > 1e6, "{found:?}");
        assert!((found.correlations[0] - 1.0).abs() < 1e-6, "{found:?}");
        assert_eq!(found.correlations[1..], [0.0, 0.0], "always the same follows nothing");
    }

    #[test]
    fn answers_that_are_off_may_still_follow_the_teachers() {
        tch::manual_seed(2);
        let teacher = Tensor::randn([9, 5], (Kind::Double, tch::Device::Cpu));
        let found = sums(&teacher, &[&(&teacher * 0.5 + 7.0), &(&teacher * -2.0)]);
        assert!(found.share(0).expect("a share") > 1.0 && (found.correlations[0] - 1.0).abs() < 1e-9, "{found:?}");
        assert!((found.correlations[1] + 1.0).abs() < 1e-9, "the other way round: {found:?}");
    }

    #[test]
    fn labels_differ_or_not() {
        let teacher = Tensor::from_slice(&[3i64, 3, 3, 7, 9, 3]).view([6, 1]);
        let half_right = Tensor::from_slice(&[3i64, 3, 3, 3, 9, 4]).view([6, 1]);
        let always = Tensor::full([6, 1], 3, (Kind::Int64, tch::Device::Cpu));
        let found = sums(&teacher, &[&teacher, &half_right, &always]);
        assert_eq!(found.constant, Some(2.0 / 6.0));
        assert_eq!([0, 1, 2].map(|student| found.share(student)), [Some(0.0), Some(1.0), Some(1.0)]);
        assert_eq!(sums(&always, &[&teacher]).share(0), None, "one label all over");
    }

    #[test]
    fn a_teacher_that_always_says_the_same_has_no_share() {
        let teacher = Tensor::ones([4, 3], (Kind::Double, tch::Device::Cpu));
        let found = sums(&teacher, &[&(&teacher * 2.0)]);
        assert_eq!((found.constant, found.share(0)), (Some(0.0), None));
        assert_eq!(constant_loss(&[teacher.shallow_clone()]).expect("computes"), Some(0.0));
        assert_eq!(constant_loss(&[teacher.narrow(0, 0, 1)]).expect("computes"), None, "one image varies in nothing");
    }
}
