//! Generates the ONNX messages and tells the linker and the binary where the native libraries are.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    generate_onnx_messages();
    point_at_native_libraries();
    name_libtorch_version();
}

/// The version that scripts/setup fetches, as `LIBTORCH_VERSION`: reports name it.
fn name_libtorch_version() {
    let wheels = "scripts/wheels.txt";
    println!("cargo:rerun-if-changed={wheels}");
    let text = std::fs::read_to_string(wheels).expect("scripts/wheels.txt is readable");
    let version = text.lines().find_map(|line| line.strip_prefix("torch==")?.split_whitespace().next());
    println!("cargo:rustc-env=LIBTORCH_VERSION={}", version.expect("scripts/wheels.txt names a version of torch"));
}

/// `src/onnx/onnx.proto` → `$OUT_DIR`, parsed by protox so that no `protoc` is needed.
fn generate_onnx_messages() {
    let proto = "src/onnx/onnx.proto";
    println!("cargo:rerun-if-changed={proto}");
    let descriptors = protox::compile([proto], ["src/onnx"]).expect("src/onnx/onnx.proto parses");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let set = out.join("onnx.descriptors");
    std::fs::write(&set, protox::prost::Message::encode_to_vec(&descriptors)).expect("OUT_DIR is writable");
    as_old_as(proto, &set).expect("OUT_DIR is writable");
    buffa_build::Config::new()
        .descriptor_set(&set)
        .files(&["onnx.proto"])
        .includes(&["src/onnx"])
        // Owned messages are all we use, and borrowed views would more than double what has to be compiled.
        .generate_views(false)
        .compile()
        .expect("the ONNX messages generate");
}

/// Gives a file the age of another. The generator asks cargo to watch the file that we have just written; younger than the
/// start of this script, it would have everything compiled anew each time.
fn as_old_as(source: &str, file: &Path) -> std::io::Result<()> {
    let age = std::fs::metadata(source)?.modified()?;
    std::fs::File::options().write(true).open(file)?.set_modified(age)
}

/// The binary finds libtorch by rpath and ONNX Runtime by a path compiled in, so that it runs from any folder with no
/// environment set; `$ORIGIN/../lib` comes first for installed layouts (the Docker image).
fn point_at_native_libraries() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let libtorch = env::var_os("LIBTORCH").map_or_else(|| root.join(".local/libtorch"), PathBuf::from);
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", real(&libtorch.join("lib")).display());
    println!(
        "cargo:rustc-env=PRACTISED_ONNXRUNTIME={}",
        real(&root.join(".local/onnxruntime/lib/libonnxruntime.so")).display()
    );
    println!("cargo:rustc-env=PRACTISED_POSTGRES={}", root.join(".local/postgres/bin").display());
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
