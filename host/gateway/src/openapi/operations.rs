//! What each route is for, in words for people: the part of the description that no table of routes
//! can know.

use crate::identity::Verb;
use axum::http::Method;

/// What an answer holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// JSON of this schema.
    Json(&'static str),
    /// An infer answer: JSON, or JSON and binary tensors.
    Infer,
    /// Server-sent events.
    Events,
    /// Plain text.
    Text,
}

/// Statuses of failures, and what each means.
pub(super) const FAILURES: [(&str, &str); 13] = [
    ("400", "the request is wrong: what was expected, what came, how to mend it"),
    ("401", "no credential that is known"),
    ("403", "a key without the verb, or not for this model"),
    ("404", "no such model, version or label"),
    ("408", "the body did not arrive in time"),
    ("413", "larger than a limit"),
    ("415", "an unknown Content-Encoding"),
    ("422", "the model's package is refused"),
    ("429", "a limit of the tenant; Retry-After says until when"),
    ("431", "more or larger headers than the limit"),
    ("500", "a plugin failed"),
    ("503", "overloaded, loading or unloaded; Retry-After says until when"),
    ("504", "the deadline passed"),
];

/// A route, with and without a version in its path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// The path without `/versions/{version}`.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Schema of the request's body.
    pub(super) request: Option<&'static str>,
    pub(super) needs_body: bool,
    pub(super) answer: Content,
    /// Whether it is there to refuse, with this status.
    pub(super) refused: bool,
    pub(super) status: &'static str,
    /// A body for the example.
    pub(super) example: Option<&'static str>,
}

const fn get(path: &'static str, answer: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "GET",
        path,
        summary,
        request: None,
        needs_body: false,
        answer: Content::Json(answer),
        refused: false,
        status: "200",
        example: None,
    }
}

const fn post(path: &'static str, request: &'static str, summary: &'static str) -> Operation {
    Operation { method: "POST", request: Some(request), ..get(path, "Empty", summary) }
}

impl Operation {
    const fn answers(self, answer: Content) -> Operation {
        Operation { answer, ..self }
    }

    const fn example(self, body: &'static str) -> Operation {
        Operation { example: Some(body), ..self }
    }

    const fn needs_body(self) -> Operation {
        Operation { needs_body: true, ..self }
    }

    const fn refused(self, status: &'static str) -> Operation {
        Operation { refused: true, status, ..self }
    }

    const fn without_body(self) -> Operation {
        Operation { request: None, ..self }
    }

    /// Every operation, in the order of the reference page.
    pub(super) const ALL: &[Operation] = &[
        get("/v2/health/live", "Live", "Whether the process works at all"),
        get("/v2/health/ready", "Ready", "Whether every model can answer; 503 with the reasons if not, which name models only to a key that may read them"),
        get("/v2", "Server", "Name, version and extensions of the server"),
        get("/v2/openapi.json", "OpenApi", "This description for machines"),
        get("/v2/models/{model}", "Model", "Inputs, outputs and versions of a model, and who signed, tested and reviewed this one"),
        get("/v2/models/{model}/ready", "ModelReady", "Whether a model can answer; 400 if not now, 404 if there is none"),
        get("/v2/models/{model}/config", "ModelConfig", "Configuration of a model, in Triton's words"),
        get("/v2/models/stats", "Statistics", "What every version did so far: requests, time before, in and after the model's plan, batch sizes"),
        get("/v2/models/{model}/stats", "Statistics", "What the versions of a model did so far"),
        post("/v2/models/{model}/infer", "InferRequest", "Runs a model: tensors as JSON, or as binary data after it (`Inference-Header-Content-Length`)")
            .answers(Content::Infer)
            .needs_body()
            .example(r#"{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[2],"data":[1,2]}]}"#),
        post("/v2/models/{model}/generate", "GenerateRequest", "Runs a model on flat JSON: fields are inputs by name, others are parameters")
            .answers(Content::Json("GenerateResponse"))
            .needs_body()
            .example(r#"{"text":"Hello, world"}"#),
        post("/v2/models/{model}/generate_stream", "GenerateRequest", "The same as server-sent events, one for each part of the answer; an error after the first part is an event with `error`")
            .answers(Content::Events)
            .needs_body()
            .example(r#"{"text":"Hello, world"}"#),
        post("/v2/repository/index", "IndexRequest", "Every version of the models that the key may see, and how it stands")
            .answers(Content::Json("Index"))
            .example(r#"{"ready":true}"#),
        post("/v2/repository/models/{model}/load", "LoadRequest", "Puts a model in service; answers once it can")
            .example("{}"),
        post("/v2/repository/models/{model}/unload", "LoadRequest", "Takes a model out of service: new requests are refused, those inside finish")
            .example("{}"),
        get("/v2/logging", "LogSettings", "How much is logged"),
        post("/v2/logging", "LogSettings", "Changes how much is logged, until the process ends")
            .answers(Content::Json("LogSettings"))
            .example(r#"{"log_verbose_level":1}"#),
        get("/v2/trace/setting", "TraceSettings", "Which share of requests is traced"),
        post("/v2/trace/setting", "TraceRequest", "Changes which share of requests is traced")
            .answers(Content::Json("TraceSettings"))
            .example(r#"{"trace_rate":"100"}"#),
        get("/v2/models/{model}/trace/setting", "TraceSettings", "The trace settings, which hold for every model"),
        post("/v2/models/{model}/trace/setting", "NoSettings", "Refused: trace settings hold for every model")
            .answers(Content::Json("TraceSettings"))
            .example("{}"),
        get("/v2/systemsharedmemory/status", "Regions", "Registered regions of shared memory: none"),
        get("/v2/systemsharedmemory/region/{region}/status", "Regions", "The same for one region"),
        post("/v2/systemsharedmemory/region/{region}/register", "Empty", "Refused by design: a client could change what was checked")
            .refused("400"),
        post("/v2/systemsharedmemory/region/{region}/unregister", "Empty", "Nothing is registered, so there is nothing to do")
            .without_body(),
        post("/v2/systemsharedmemory/unregister", "Empty", "The same for all regions").without_body(),
        get("/v2/cudasharedmemory/status", "Regions", "Registered regions of CUDA memory: none"),
        get("/v2/cudasharedmemory/region/{region}/status", "Regions", "The same for one region"),
        post("/v2/cudasharedmemory/region/{region}/register", "Empty", "Refused by design, as for shared memory of the system")
            .refused("400"),
        post("/v2/cudasharedmemory/region/{region}/unregister", "Empty", "Nothing is registered, so there is nothing to do")
            .without_body(),
        post("/v2/cudasharedmemory/unregister", "Empty", "The same for all regions").without_body(),
        post("/v1/chat/completions", "ChatRequest", "An answer to messages, whole or as server-sent events; from models with a BYTES input `messages` and a BYTES output `text`")
            .answers(Content::Json("Completion"))
            .needs_body()
            .example(r#"{"model":"chat","messages":[{"role":"user","content":"Hello"}]}"#),
        post("/v1/completions", "CompletionRequest", "Text after a prompt, whole or as server-sent events; from models with a BYTES input `prompt` and a BYTES output `text`")
            .answers(Content::Json("Completion"))
            .needs_body()
            .example(r#"{"model":"complete","prompt":"Hello"}"#),
        post("/v1/embeddings", "EmbeddingsRequest", "Vectors of texts")
            .answers(Content::Json("Embeddings"))
            .needs_body()
            .example(r#"{"model":"minilm","input":"Hello, world"}"#),
        get("/v1/models", "OpenAiModels", "The models that the key may see"),
        get("/v1/models/{model}", "OpenAiModel", "One model"),
        Operation {
            method: "DELETE",
            ..get("/v1/models/{model}", "Empty", "Refused: the operator moves labels and rolls back with `aimass model`")
        }
        .refused("405"),
        get("/metrics", "Empty", "Counters in the Prometheus text format").answers(Content::Text),
    ];

    /// Which of [`FAILURES`] the operation can answer with on this path.
    pub(super) fn failures(&self, path: &str, verb: Option<Verb>) -> impl Iterator<Item = &str> {
        let is_open = verb.is_none();
        let reads_body = self.request.is_some();
        let calls = verb == Some(Verb::Infer);
        let names_model = path.contains("{model}") || calls;
        let waits = calls || path.ends_with("/load");
        let is_possible = move |status: &str| match status {
            "401" | "403" | "429" | "503" => !is_open,
            "404" | "422" => names_model,
            "408" | "413" | "415" => reads_body,
            "500" | "504" => waits,
            _ => true,
        };
        FAILURES.iter().map(|(status, _)| *status).filter(move |status| is_possible(status))
    }

    /// The description of a route.
    pub(super) fn of(method: &Method, path: &str) -> Option<&'static Operation> {
        let path = without_version(path);
        Operation::ALL.iter().find(|one| one.method == method.as_str() && one.path == path)
    }

    /// A name for generated clients: `post_v2_models_model_infer`.
    pub(super) fn id(&self, path: &str) -> String {
        let words = path.split(['/', '.']).map(|part| part.trim_matches(['{', '}']));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        format!("{}_{}", self.method.to_lowercase(), words.join("_"))
    }

    /// A line that works against a server with the models of the demo.
    #[cfg(test)]
    pub(super) fn curl(&self) -> String {
        let model = if self.path.contains("/infer") { "identity" } else { "minilm" };
        let path = self.path.replace("{model}", model).replace("{region}", "any");
        let mut line = match self.method {
            "GET" => format!("curl -s $URL{path}"),
            method => format!("curl -s -X {method} $URL{path}"),
        };
        if !path.starts_with("/v2/health/") {
            line += " -H \"Authorization: Bearer $KEY\"";
        }
        if let Some(body) = self.example {
            line += &format!(" \\\n     -H 'Content-Type: application/json' -d '{body}'");
        }
        line
    }
}

/// A path with and without its version is one operation.
pub(super) fn without_version(path: &str) -> String {
    path.replace("/versions/{version}", "")
}
