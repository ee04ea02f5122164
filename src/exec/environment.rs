//! What a program that computes finds around it: threads within one operator, and an environment for OpenMP and the
//! allocator.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Environment of a program that computes (figures in docs/performance.md).
///
/// OpenMP's threads sleep while they wait for each other. By default they spin, and where the cores are shared a spinning
/// thread takes the time of the one that it waits for: two training threads on two shared cores spent two thirds of their
/// time so.
///
/// glibc keeps freed memory up to 2 GiB, in one arena. By default activations go back to the system after each step, and
/// every page of them is cleared again in the next step.
///
/// GPUs are numbered in the order of the bus, which is the order of the driver's files; by default the fastest is the first.
///
/// GPUs multiply float32 as float32. By default their convolutions round to TF32 (10 bits of mantissa), and a student's file then
/// differs from the student in memory by 2e-4 of the output's scale and more.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("MALLOC_ARENA_MAX", "1"),
    ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
    ("NVIDIA_TF32_OVERRIDE", "0"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "2147483648"),
];

/// Default number of CPU threads: `OMP_NUM_THREADS`, or all cores.
pub fn usual_threads() -> usize {
    let wished = env::var("OMP_NUM_THREADS").ok();
    let wished = wished.and_then(|count| count.split(',').next()?.trim().parse().ok()).filter(|count| *count > 0);
    wished.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Sets how many CPU threads torch uses within one operator, for the whole process.
pub fn set_threads(count: usize) {
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}

/// How many CPU threads torch uses within one operator.
pub fn threads() -> usize {
    tch::get_num_threads().max(1) as usize
}

/// Gives this process the environment of one that computes, but for what its own has a word on. OpenMP and the allocator
/// read it when the program is loaded, so the program takes its own place once more: call this before anything else.
pub fn compute_here() {
    if ENVIRONMENT.iter().all(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut again = Command::new(program);
    again.args(env::args_os().skip(1));
    let _ = compute_in(&mut again).exec();
    // Returns only if it failed; then computing is merely slower.
}

/// Gives a program that environment from its start: [`compute_here`] then has nothing to do there, and libtorch is loaded
/// once.
pub fn compute_in(command: &mut Command) -> &mut Command {
    let missing = ENVIRONMENT.iter().filter(|(name, _)| env::var_os(name).is_none());
    command.envs(missing.copied())
}

/// Gives a program the environment that it would have by itself, whatever was done to this one.
pub fn compute_as_by_default(command: &mut Command) {
    for (name, value) in ENVIRONMENT {
        if env::var_os(name).is_some_and(|set| set == value) {
            command.env_remove(name);
        }
    }
}
