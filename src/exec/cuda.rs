//! CUDA for a binary that is linked against the CPU half of libtorch alone.
//!
//! `libtorch_cuda.so` registers itself with `libtorch_cpu.so` when it is loaded, so one binary serves hosts with and
//! without a GPU. Torch looks for CUDA once, at the first question about it, so the library has to be loaded before.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Loads `libtorch_cuda.so` from the folder of `libtorch_cpu.so`, once; must precede any other torch call about CUDA.
///
/// Errors with the cause and the fix if the library is missing or does not load.
pub fn load() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(load_once).clone()
}

/// True if this installation's libtorch has its CUDA half; nothing is loaded.
pub fn installed() -> bool {
    libtorch_folder().is_some_and(|folder| folder.join("libtorch_cuda.so").exists())
}

/// The name of the `index`-th GPU that this process sees, from the driver's own files; nothing is loaded.
pub fn name(index: usize) -> Option<String> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    name_in(Path::new("/proc/driver/nvidia/gpus"), on_the_bus(visible.as_deref(), index)?)
}

/// Which GPU of the bus is the `index`-th of those that are `visible`; `None` where they are not listed by their numbers.
fn on_the_bus(visible: Option<&str>, index: usize) -> Option<usize> {
    match visible {
        Some(list) => list.split(',').nth(index)?.trim().parse().ok(),
        None => Some(index),
    }
}

/// While this lives, cuDNN tries its algorithms on every shape that it has not met, and takes the fastest from then on. For
/// training, whose shapes come again; elsewhere the search takes longer than it saves.
pub struct Search(());

impl Search {
    /// On a GPU; `None` on the CPU.
    pub fn begin(device: tch::Device) -> Option<Self> {
        device.is_cuda().then(|| {
            tch::Cuda::cudnn_set_benchmark(true);
            Self(())
        })
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        tch::Cuda::cudnn_set_benchmark(false);
    }
}

/// The driver's version, from its own file; nothing is loaded.
pub fn driver() -> Option<String> {
    version_in(&std::fs::read_to_string("/proc/driver/nvidia/version").ok()?)
}

/// The first word of the driver's line that is a version: `NVRM version: NVIDIA UNIX … Module  580.159.04  Release …`.
fn version_in(text: &str) -> Option<String> {
    let numbers = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(numbers).map(str::to_owned)
}

fn name_in(folder: &Path, index: usize) -> Option<String> {
    let mut gpus: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    gpus.sort();
    let text = std::fs::read_to_string(gpus.get(index)?.join("information")).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

fn load_once() -> Result<(), String> {
    let folder = libtorch_folder().ok_or("libtorch_cpu.so is not among this process's libraries")?;
    let library = folder.join("libtorch_cuda.so");
    if !library.exists() {
        return Err(format!(
            "{} is missing: this libtorch is the CPU one; set up with `CUDA=1 scripts/setup` and build again",
            library.display()
        ));
    }
    open_for_good(&library)?;
    if tch::Cuda::is_available() {
        Ok(())
    } else {
        Err("libtorch finds no usable CUDA GPU: check the driver with `nvidia-smi`, and CUDA_VISIBLE_DEVICES"
            .to_owned())
    }
}

fn open_for_good(library: &Path) -> Result<(), String> {
    // SAFETY: the library is libtorch's own other half; its initialisers are meant to run in any process that has the
    // first half, and it is never unloaded.
    let handle = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) };
    let handle = handle.map_err(|error| format!("{} does not load: {error}", library.display()))?;
    std::mem::forget(handle);
    Ok(())
}

/// The folder that this process's `libtorch_cpu.so` came from.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path =
        maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|p| p.contains("libtorch_cpu.so")));
    Some(Path::new(path?).parent()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_tells_its_version() {
        let text =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (root@b)  Tue\nGCC";
        assert_eq!(version_in(text).as_deref(), Some("580.159.04"));
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn of_the_visible_gpus_each_has_its_number_on_the_bus() {
        assert_eq!(on_the_bus(None, 1), Some(1));
        assert_eq!([0, 1, 2].map(|index| on_the_bus(Some("3, 1"), index)), [Some(3), Some(1), None]);
        assert_eq!(on_the_bus(Some("GPU-8932f937"), 0), None);
    }

    #[test]
    fn a_gpu_is_named_by_its_driver() {
        let folder = tempfile::tempdir().expect("a folder");
        for (bus, model) in [("0000:1b:00.0", "Second"), ("0000:0a:00.0", "First GPU 80GB")] {
            let gpu = folder.path().join(bus);
            std::fs::create_dir(&gpu).expect("made");
            std::fs::write(gpu.join("information"), format!("Model: \t\t {model}\nIRQ: 1\n")).expect("written");
        }
        assert_eq!(name_in(folder.path(), 0).as_deref(), Some("First GPU 80GB"));
        assert_eq!(name_in(folder.path(), 2), None);
    }

    #[test]
    fn libtorch_is_found_among_the_loaded_libraries() {
        let folder = libtorch_folder().expect("tests run with libtorch");
        assert!(folder.join("libtorch_cpu.so").exists());
    }
}
