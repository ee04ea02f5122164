//! Every kind of problem in one table: code, HTTP status, whether trying again may help, title, fix.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $retryable:literal, $title:literal, $way_out:literal;)*) => {
        /// A kind of problem; its page is `/v1/errors/{code}`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable identifier for programs, such as `invalid_job`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// HTTP status code, 400 to 599.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// True if the same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Code::$name => $retryable,)* }
            }

            /// The kind in a few words, for people.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// How to fix it.
            pub fn way_out(self) -> &'static str {
                match self { $(Code::$name => $way_out,)* }
            }
        }
    };
}

codes! {
    // The request.
    BadRequest = "bad_request", 400, false, "The request cannot be read",
        "Compare the request with the example in the README; the detail says what could not be read.";
    InvalidJson = "invalid_json", 400, false, "The body is not JSON",
        "Send a JSON object with `content-type: application/json`; the detail names line and column.";
    InvalidQuery = "invalid_query", 400, false, "A query parameter is invalid",
        "The detail names the parameter and the values it takes.";
    InvalidMultipart = "invalid_multipart", 400, false, "The multipart form cannot be read",
        "With curl: `-F file=@model.onnx` for a model; `-F archive=@images.zip -F labels=@labels.csv` or repeated `-F image=@a.png` for images.";
    UnknownRoute = "unknown_route", 404, false, "There is nothing at this path",
        "See the list of routes in the README; every path of the API starts with /v1.";
    MethodNotAllowed = "method_not_allowed", 405, false, "This path does not support the method",
        "The Allow header lists the supported methods.";
    BodyTooLarge = "body_too_large", 413, false, "The body is over the limit",
        "The detail names the limit. For images, send fewer or smaller ones: a few hundred are enough.";
    UnsupportedMediaType = "unsupported_media_type", 415, false, "The content type is not supported",
        "The detail names what is supported. Send the bytes themselves, without a Content-Encoding.";
    KeyMissing = "key_missing", 401, false, "The request has no API key",
        "Send `Authorization: Bearer practised_…`. The operator of the service creates keys with `practised keys create` or POST /v1/api-keys.";
    KeyInvalid = "key_invalid", 401, false, "The API key is unknown or revoked",
        "Check that the key is complete. If it was revoked, ask the operator for a new one.";
    ScopeMissing = "scope_missing", 403, false, "The API key lacks a scope",
        "Reading needs the scope read, changes need write, keys and tenants need admin. Ask for a key with the scope that the detail names.";
    HostNotAllowed = "host_not_allowed", 421, false, "The service does not accept this host name",
        "Without API keys, the service accepts only localhost, 127.0.0.1, [::1] and the address in --listen. Use one of them, or start the service with `--allow-host NAME` or --require-keys.";
    OriginNotAllowed = "origin_not_allowed", 403, false, "Pages of other sites may not use this service",
        "Without API keys, requests from other sites' pages are refused. Start the service with `--allow-host NAME` for a host that you trust, or with --require-keys.";
    RequestTimeout = "request_timeout", 408, true, "The request arrived too slowly",
        "Send the head and the body without long pauses. GET /v1/limits shows the time limits under `connections`.";
    RangeNotSatisfiable = "range_not_satisfiable", 416, false, "The range lies outside the file",
        "Content-Range gives the size of the file; request bytes below it.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, false, "The Idempotency-Key was used for another request",
        "Use a new key for a new request; a repeated request must be the same byte for byte.";
    IdempotencyKeyInFlight = "idempotency_key_in_flight", 409, true, "A request with this Idempotency-Key is in flight",
        "Wait a moment, then repeat the request: it gets the response to the first one.";

    // Resources.
    ModelNotFound = "model_not_found", 404, false, "No such model", "GET /v1/models lists the models.";
    ImageSetNotFound = "image_set_not_found", 404, false, "No such image set", "GET /v1/image-sets lists the image sets.";
    JobNotFound = "job_not_found", 404, false, "No such job", "GET /v1/jobs lists the jobs.";
    KeyNotFound = "api_key_not_found", 404, false, "No such API key", "GET /v1/api-keys lists the keys.";
    KeyMade = "api_key_made", 409, false, "The request has already created an API key",
        "The key is shown once, in the first response. If you lost it, revoke the key (DELETE /v1/api-keys/{id}) and create another one with a new Idempotency-Key.";
    ReportNotReady = "report_not_ready", 404, true, "The job has no report yet",
        "The report exists once the job has succeeded. GET /v1/jobs/{id} shows the progress, or why the job failed.";
    ArtifactNotFound = "artifact_not_found", 404, false, "The job has no such artifact",
        "GET /v1/jobs/{id}/artifacts lists them. A job has none before it has succeeded.";
    ErrorPageNotFound = "error_page_not_found", 404, false, "No such kind of problem", "GET /v1/errors lists them.";
    ModelInUse = "model_in_use", 409, true, "A job uses the model",
        "Wait until the job is done, or cancel it (POST /v1/jobs/{id}/cancel), then delete again.";
    ImageSetInUse = "image_set_in_use", 409, true, "A job uses the image set",
        "Wait until the job is done, or cancel it (POST /v1/jobs/{id}/cancel), then delete again.";
    JobDone = "job_done", 409, false, "The job is already done", "A job that is done never changes. Submit a new one.";

    TenantNotFound = "tenant_not_found", 404, false, "No such tenant",
        "GET /v1/tenants lists the tenants. A tenant is created with its first key, or with PUT /v1/tenants/{name}.";
    InvalidTenant = "invalid_tenant", 422, false, "The tenant's name or caps are invalid",
        "A name is 1 to 63 of a-z, 0-9, - and _; the body is `{\"max_running\": 4, \"max_queued\": null}`. Each error is listed.";
    InvalidKey = "invalid_api_key", 422, false, "The settings of the new API key are invalid",
        "Each error is listed with a JSON pointer. `{}` creates a key of the tenant local with the scopes read and write.";

    // Text.
    InvalidName = "invalid_name", 422, false, "The name is invalid",
        "A model's name has at most 255 characters, an image's file name at most 512 bytes. Neither may contain control characters.";
    InvalidText = "invalid_text", 422, false, "A text contains a character that cannot be stored",
        "Leave out NUL characters (\\u0000 in JSON, %00 in a URL).";

    // Models.
    EmptyBody = "empty_body", 400, false, "The body is empty",
        "Send the file's bytes, for example `curl --data-binary @model.onnx`.";
    NotOnnx = "not_onnx", 400, false, "The file is not an ONNX model",
        "Export the network with torch.onnx.export and upload the .onnx file.";
    ModelTruncated = "model_truncated", 400, false, "The ONNX file ends too early",
        "The upload was interrupted or the file is incomplete. Compare its size with the original, then upload it again.";
    PytorchFile = "pytorch_file", 415, false, "This is a PyTorch file, not ONNX",
        "PyTorch files contain pickled programs, which this service never runs. Export the network with torch.onnx.export, then upload the .onnx file.";
    ExternalData = "external_data", 422, false, "The model's weights are in another file",
        "Save the model as one file: torch.onnx.export(…, external_data=False), or onnx.save_model(onnx.load(path), \"one.onnx\").";
    ModelTooLarge = "model_too_large", 413, false, "The model is over the limit",
        "The detail names the limit.";
    ModelTooComplex = "model_too_complex", 422, false, "The file is too complex to be a network",
        "No exporter writes such a file; export the network again.";
    ControlFlowUnsupported = "control_flow_unsupported", 422, false, "The network contains control flow or local functions",
        "Replace data-dependent if and for in forward() and export again; inline functions with onnx.inliner.";
    TensorUnsupported = "tensor_unsupported", 422, false, "A tensor is not a dense array of numbers",
        "Sparse and string tensors cannot be weights here; export the network without them.";
    ModelInvalid = "model_invalid", 422, false, "The network is not a valid graph",
        "Every error is listed with its node. `onnx.checker.check_model(path, full_check=True)` finds most of them too. Export the network again.";
    OperatorsUnsupported = "operators_unsupported", 422, false, "The network uses operators that are not supported",
        "All of them are listed with node and operator. Most disappear if the network is exported in eval mode, without preprocessing and postprocessing.";
    ModelInterfaceUnsupported = "model_interface_unsupported", 422, false, "The network's inputs or outputs are not supported",
        "Expected: one image input of shape (N, C, H, W) with float32 elements. See the detail.";
    NoDroppableBlock = "no_droppable_block", 422, false, "No block of the network can be dropped",
        "GET /v1/models/{id}/blocks gives the reason for each block. Networks with identity shortcuts (ResNet, MobileNetV2, EfficientNet …) have droppable blocks.";

    // Images.
    NotAZip = "not_a_zip", 400, false, "The archive is not a zip",
        "Send a zip of PNG, JPEG, BMP, WebP or TIFF files, or single images: `-F image=@a.png -F image=@b.png`.";
    ZipBomb = "zip_bomb", 422, false, "The archive is refused as a zip bomb",
        "Pack plain image files with any common zip program.";
    UnsafeArchiveEntry = "unsafe_archive_entry", 422, false, "The archive contains an unsafe path",
        "Pack the images with relative names and without links.";
    DuplicateImageName = "duplicate_image_name", 422, false, "Two images have the same name",
        "Give every image a unique name.";
    ImageSetTooLarge = "image_set_too_large", 413, false, "The image set is over a limit",
        "The detail names the limit. Send fewer or smaller images: a few hundred are enough.";
    NoUsableImage = "no_usable_image", 422, false, "No image could be used",
        "The detail says why the first ones were refused. Send PNG, JPEG, BMP, WebP or TIFF files.";
    InvalidLabels = "invalid_labels", 422, false, "The labels cannot be read",
        "Labels are a csv with the header `file,label`, one line per image, labels being class numbers.";
    InvalidPreprocess = "invalid_preprocess", 422, false, "The preprocessing is invalid",
        "Each error is listed with its field.";
    ImagesDoNotFit = "images_do_not_fit_the_model", 422, false, "The images do not fit the model's input",
        "Give the job a `preprocess` with `resize` and `crop` as in the hint, or upload images of the model's size.";

    ImageDecodeFailed = "image_decode_failed", 500, true, "An image could not be decoded a second time",
        "Submit the job again; if it fails again, report it with the job's id.";
    ImagesUnreadable = "images_unreadable", 500, true, "The images could not be read",
        "Check the path and its permissions if you run the command line; else repeat the request.";
    ImagesTooCostly = "images_too_costly", 422, false, "Decoding the images took too much time or memory",
        "The detail names the limit. Save the images again as plain JPEG or PNG, or send smaller or fewer images.";
    TooManyUploads = "too_many_uploads", 429, true, "The tenant has too many uploads in progress",
        "Send uploads one after the other, or repeat this one after the seconds in Retry-After.";
    DecodersBusy = "decoders_busy", 503, true, "The service is busy with other uploads",
        "Repeat the upload after the seconds in Retry-After.";

    // Jobs.
    InvalidJob = "invalid_job", 422, false, "The job's body is invalid",
        "Each error is listed with a JSON pointer and, if a known name is similar, a suggestion. `errors_omitted` counts those beyond the first 100.";
    UnknownBlock = "unknown_block", 422, false, "The model has no such block",
        "GET /v1/models/{id}/blocks lists the names.";
    QueueFull = "queue_full", 429, true, "The tenant has reached its limit of queued jobs",
        "Submit the job again once a worker has started one, or cancel a queued one (POST /v1/jobs/{id}/cancel). An admin can raise the limit with PUT /v1/tenants/{name}.";
    DeadlineExceeded = "deadline_exceeded", 504, true, "The job did not finish by its deadline",
        "Submit it again with a larger `deadline_seconds`, fewer iterations, or more workers.";
    TaskCrashed = "task_crashed", 500, true, "The worker process ended too often on the same task",
        "Often the host has too little memory: try a smaller batch or fewer images. If it happens again, report it with the job's id.";
    TaskFailed = "task_failed", 500, true, "A task failed three times",
        "The detail describes the last failure. Submit the job again; if it fails again, report it with the job's id.";
    ExecutionFailed = "execution_failed", 500, true, "The network could not be run",
        "Submit the job again; if it fails again, report it with the job's id.";
    MeasurementFailed = "measurement_failed", 500, true, "The latency could not be measured",
        "Submit the job again; if it fails again, report it with the job's id.";
    OnnxruntimeFailed = "onnxruntime_failed", 500, true, "ONNX Runtime failed",
        "Submit the job again; if it fails again, report it with the job's id.";
    ExportDiffers = "export_differs", 500, true, "The exported student differs from the one in memory",
        "An unverified student is never delivered. Report this with the job's id.";
    MergeDiffers = "merge_differs", 500, true, "Merging the adapters changed the student's output",
        "An unverified student is never delivered. Report this with the job's id.";
    NotFinite = "not_finite", 422, false, "A computation produced a value that is not finite",
        "Usually the images lack the preprocessing that the model was trained with: set `preprocess`.";
    NoBetterThanConstant = "no_better_than_constant", 422, false, "The recovered student is no better than a constant answer",
        "Set `preprocess` as in training, send more images, or drop fewer blocks. `\"finetune\": null` delivers the student without recovery.";

    // This service.
    DatabaseUnavailable = "database_unavailable", 503, true, "The database does not answer",
        "Repeat the request after the seconds in Retry-After. Nothing was stored.";
    TooManyConnections = "too_many_connections", 503, true, "Too many connections are open",
        "Repeat the request after the seconds in Retry-After, and reuse connections. The operator can raise the limit with --max-connections or --max-connections-per-peer.";
    NotReady = "not_ready", 503, true, "The service is not ready", "The detail says what is missing.";
    DiskFull = "disk_full", 507, true, "The disk is full",
        "Reading, cancelling and deleting still work. Delete models or image sets that are no longer needed, or ask the operator.";
    Internal = "internal", 500, true, "The service failed",
        "Repeat the request; if it fails again, report it with the request_id.";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A code that another version wrote and this one does not know reads as `internal`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Ok(Self::from_code(&code).unwrap_or(Self::Internal))
    }
}

impl Code {
    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Code> {
        Self::ALL.iter().copied().find(|known| known.as_str() == code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_no_entry_is_half_filled() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::from_code(code.as_str()), Some(*code));
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(!code.title().is_empty() && !code.way_out().is_empty(), "{code:?}");
        }
    }
}
