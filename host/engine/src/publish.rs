//! Publishing: what is admitted to the registry was verified, admitted to the sandbox, loaded, and
//! has passed its fixtures. Nothing is visible before that.

use crate::compare;
use crate::composition::{Scope, check_calls};
use crate::engine::read_policy;
use crate::errors::{of_refusal, of_registry, of_sandbox};
use crate::files::FileBytes;
use crate::loader::{CHUNKS_SUFFIX, LoadedModel, MANIFEST_FILE, STATEMENT_FILE, VersionSource};
use crate::package::ModelManifest;
use crate::pipeline::Host;
use crate::streaming::stream_items;
use crate::trail::admission_detail;
use crate::{Engine, EngineError, Family, InferRequest, InferResponse, ReleaseFacts, Selector};
use aimass_registry::{
    InitialState, ModelRelease, PluginRecord, PluginRelease, Sha256Digest, SignedRelease,
    StagedModel,
};
use aimass_sandbox::BoxFuture;
use aimass_tensor::Tensor;
use aimass_trust::{CHUNK_BYTES, ChunkList, FileDigest, VerifiedModel, adds_signatures};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Time that one fixture may take.
const FIXTURE_WALL_MAX: Duration = Duration::from_secs(60);
/// Files that a package folder may hold.
const PACKAGE_FILES_MAX: usize = 4096;

/// A model package in a folder, not yet signed or published.
pub struct PackageFolder {
    /// The checked manifest.
    pub manifest: ModelManifest,
    files: FolderFiles,
}

/// The plain files of a folder that is, or may become, a model package.
pub(crate) struct FolderFiles {
    dir: PathBuf,
    pub(crate) names: Vec<String>,
    chunks: BTreeMap<String, ChunkList>,
}

/// A model version that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedModel {
    /// Version that the registry assigned.
    pub version: u64,
    /// Fixtures that passed.
    pub fixtures: usize,
    /// Who answers for it.
    pub release: ReleaseFacts,
}

/// A package that is loaded, but not published.
pub(crate) struct Candidate {
    pub(crate) staged: StagedModel,
    model_toml: String,
    locks: BTreeMap<String, Sha256Digest>,
    admitted: SystemTime,
    verified: VerifiedModel,
    pub(crate) model: LoadedModel,
}

impl PackageFolder {
    /// Reads a package folder: `model.toml`, files, `*.fixture.json`. Hashes every file.
    ///
    /// # Errors
    /// The folder or a file cannot be read, or `model.toml` is wrong.
    pub fn read(dir: &Path) -> Result<PackageFolder, EngineError> {
        let text = std::fs::read_to_string(dir.join(MANIFEST_FILE))
            .map_err(|error| io_error(&dir.join(MANIFEST_FILE), &error))?;
        let manifest = ModelManifest::parse(&text)?;
        Ok(PackageFolder { manifest, files: FolderFiles::read(dir)? })
    }

    /// Size and Merkle root of every file, for the statement.
    pub fn digests(&self) -> BTreeMap<String, FileDigest> {
        self.files.chunks.iter().map(|(name, list)| (name.clone(), list.digest())).collect()
    }

    /// The statement that lies in the folder, if it was signed before.
    ///
    /// # Errors
    /// The file exists but cannot be read.
    pub fn statement(&self) -> Result<Option<Vec<u8>>, EngineError> {
        let path = self.files.dir.join(STATEMENT_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path, &error)),
        }
    }
}

impl FolderFiles {
    /// Lists a flat folder and hashes every file of it.
    ///
    /// # Errors
    /// The folder or a file cannot be read, or is not plain.
    pub(crate) fn read(dir: &Path) -> Result<FolderFiles, EngineError> {
        let names = list_files(dir)?;
        let mut chunks = BTreeMap::new();
        for name in &names {
            let path = dir.join(name);
            let list = File::open(&path).and_then(ChunkList::of_reader);
            chunks.insert(name.clone(), list.map_err(|error| io_error(&path, &error))?);
        }
        Ok(FolderFiles { dir: dir.to_owned(), names, chunks })
    }
}

impl Engine {
    /// Verifies a signed plugin and publishes it.
    ///
    /// # Errors
    /// The refusal with its code (`AMT-…`); the registry is unchanged.
    pub async fn publish_plugin(
        &self,
        wasm: Vec<u8>,
        dsse: &[u8],
    ) -> Result<PluginRecord, EngineError> {
        let inner = self.inner();
        let now = SystemTime::now();
        // Whatever signed it, the file is what was looked at.
        let file =
            Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let counted = |error: EngineError| {
            let noted = inner.note_refusal(&format!("component {file}"), &error, now);
            noted.err().unwrap_or_else(|| inner.counted(error))
        };
        let package = read_policy(&inner.config)?
            .verify_plugin(wasm, dsse, None, now)
            .map_err(|refusal| counted(of_refusal(&refusal)))?;
        inner
            .loader
            .sandbox
            .admit(&package)
            .map_err(|error| counted(of_sandbox("publish", &error)))?;
        let (name, version) = (package.name().to_string(), package.version().to_string());
        match self.registry().plugin_by_digest(package.digest()) {
            Ok(known) if !self.is_news(&known, package.sequence(), dsse)? => return Ok(known),
            Ok(_) => {}
            Err(_) => {
                let last = self.registry().highest_sequence(&name);
                let last = last.map_err(|error| of_registry(&error))?;
                package.check_sequence(last).map_err(|refusal| counted(of_refusal(&refusal)))?;
            }
        }
        inner.note_admission(&format!("{name}@{version}"), &format!("sha256 {file}"), now)?;
        let world = package.manifest().world.to_string();
        let release = PluginRelease {
            wasm: package.component(),
            dsse,
            name: &name,
            version: &version,
            digest: *package.digest(),
            world: &world,
            publisher: package.publisher(),
            sequence: package.sequence(),
        };
        self.registry().publish_plugin(release, now).map_err(|error| of_registry(&error))
    }

    /// Whether a statement about a file that is here already is the same with more signatures: reviews.
    /// Another statement about it is not taken, since expiry is judged at the file's first admission.
    fn is_news(
        &self,
        known: &PluginRecord,
        sequence: u64,
        dsse: &[u8],
    ) -> Result<bool, EngineError> {
        if known.sequence != sequence {
            return Ok(false);
        }
        let kept = self.registry().read_plugin(&known.digest);
        let kept = kept.map_err(|error| of_registry(&error))?.dsse;
        adds_signatures(&kept, dsse).map_err(|refusal| of_refusal(&refusal))
    }

    /// Verifies a signed model package, runs its fixtures and publishes it under a serving name. A
    /// release before the newest that was published of its `publisher/name` is refused
    /// (`AMT-ROLLBACK`), unless it was published before itself.
    ///
    /// # Errors
    /// The refusal, or the fixture that failed; the registry is unchanged.
    pub fn publish_model<'a>(
        &'a self,
        serving_name: &'a str,
        package: &'a PackageFolder,
        statement: &'a [u8],
    ) -> BoxFuture<'a, Result<PublishedModel, EngineError>> {
        Box::pin(self.check_and_publish(serving_name, package, statement))
    }

    async fn check_and_publish(
        &self,
        serving_name: &str,
        package: &PackageFolder,
        statement: &[u8],
    ) -> Result<PublishedModel, EngineError> {
        let inner = self.inner();
        let candidate = match self.tested_candidate(serving_name, package, statement).await {
            Ok(candidate) => candidate,
            Err(error) => {
                let section = &package.manifest.model;
                let subject = format!("{}@{}", section.name, section.version);
                inner.note_refusal(&subject, &error, SystemTime::now())?;
                return Err(inner.counted(error));
            }
        };
        let Candidate { staged, model_toml, locks, admitted, verified, model } = candidate;
        let fixtures = model.fixtures.len();
        let report = if fixtures == 0 { "none".to_owned() } else { format!("{fixtures} passed") };
        let facts = ReleaseFacts { fixtures: Some(report.clone()), ..(*model.release).clone() };
        // Before it is visible: a crash leaves a line without a version and never the reverse.
        inner.note_admission(&facts.release, &admission_detail(serving_name, &facts), admitted)?;
        let release = ModelRelease {
            model_toml: &model_toml,
            statement,
            signed: signed_release(&verified),
            locks,
            state: InitialState::Ready,
            fixture_report: Some(&report),
        };
        let version = staged.commit(release, admitted).map_err(|error| of_registry(&error))?;
        Ok(PublishedModel { version, fixtures, release: facts })
    }

    async fn tested_candidate(
        &self,
        serving_name: &str,
        package: &PackageFolder,
        statement: &[u8],
    ) -> Result<Candidate, EngineError> {
        check_calls(self.registry(), serving_name, &package.manifest)?;
        let candidate = self.load_candidate(serving_name, package, statement).await?;
        let last = self.registry().last_model_sequence(&signed_release(&candidate.verified));
        let last = last.map_err(|error| of_registry(&error))?;
        candidate.verified.check_sequence(last).map_err(|refusal| of_refusal(&refusal))?;
        self.run_fixtures(&candidate.model).await?;
        Ok(candidate)
    }

    /// Copies a signed model package beside the published ones, verifies and loads it. Nothing is
    /// visible, and dropping the candidate removes the copy.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn load_candidate(
        &self,
        serving_name: &str,
        package: &PackageFolder,
        statement: &[u8],
    ) -> Result<Candidate, EngineError> {
        let inner = self.inner();
        let admitted = SystemTime::now();
        let locks = self.lock_plugins(&package.manifest)?;
        let staged = self.stage(serving_name, &package.files)?;
        let dir = &package.files.dir;
        let model_toml = std::fs::read_to_string(dir.join(MANIFEST_FILE))
            .map_err(|error| io_error(dir, &error))?;
        let mut files = staged_files(&staged)?;
        files.insert(MANIFEST_FILE.to_owned(), Arc::new(model_toml.as_bytes().to_vec()));
        let mut source = VersionSource {
            name: Arc::from(serving_name),
            version: 0,
            admitted,
            statement: statement.to_vec(),
            files,
            locks: locks.clone(),
            fixture_report: None,
        };
        let policy = read_policy(&inner.config)?;
        let (files, verified) = source.verify(&policy)?;
        let model = inner.loader.load_verified(source, (files, &verified), &policy).await?;
        Ok(Candidate { staged, model_toml, locks, admitted, verified, model })
    }

    fn lock_plugins(
        &self,
        manifest: &ModelManifest,
    ) -> Result<BTreeMap<String, Sha256Digest>, EngineError> {
        let mut locks = BTreeMap::new();
        for (step, plugin, version) in manifest.plugins() {
            let record = self.registry().plugin(plugin, version).map_err(|error| {
                EngineError::new(
                    Family::NotFound,
                    "plugin-not-found",
                    format!("step {step}: {error}; publish it with `aimass plugin publish`"),
                )
            })?;
            locks.insert(step.to_owned(), record.digest);
        }
        Ok(locks)
    }

    /// Copies a folder's files beside the published ones; dropping the copy removes it.
    ///
    /// # Errors
    /// The registry's.
    pub(crate) fn stage(
        &self,
        name: &str,
        folder: &FolderFiles,
    ) -> Result<StagedModel, EngineError> {
        let mut staged = self.registry().stage_model(name).map_err(|error| of_registry(&error))?;
        // The registry writes model.toml itself when the version is committed.
        for file in folder.names.iter().filter(|name| *name != MANIFEST_FILE) {
            staged.add_path(file, &folder.dir.join(file)).map_err(|error| of_registry(&error))?;
            let list = &folder.chunks[file];
            if list.digest().bytes > CHUNK_BYTES {
                staged
                    .add_bytes(&format!("{file}{CHUNKS_SUFFIX}"), &list.to_bytes())
                    .map_err(|error| of_registry(&error))?;
            }
        }
        Ok(staged)
    }

    async fn run_fixtures(&self, model: &LoadedModel) -> Result<(), EngineError> {
        if model.pipeline.calls_models() {
            self.inner().refresh_catalog()?;
        }
        for fixture in &model.fixtures {
            let request = InferRequest {
                model: model.name.to_string(),
                selector: Selector::Default,
                inputs: fixture.inputs.clone(),
                outputs: Vec::new(),
                parameters: fixture.parameters.clone(),
                tenant: Arc::from("system"),
                deadline: Instant::now() + FIXTURE_WALL_MAX,
            };
            let answer = self.run_fixture(model, request).await;
            let outcome = match (&fixture.error, answer) {
                (None, Ok(answer)) => {
                    let named = answer.outputs.into_iter().map(|(n, t)| (n.to_string(), t));
                    compare(fixture, &named.collect::<Vec<_>>())
                }
                (Some(code), Err(error)) if error.code() == code => Ok(()),
                (Some(code), Err(error)) => {
                    Err(format!("expected error {code}, got {}: {error}", error.code()))
                }
                (Some(code), Ok(_)) => Err(format!("expected error {code}, got an answer")),
                (None, Err(error)) => Err(error.to_string()),
            };
            outcome.map_err(|reason| {
                EngineError::new(
                    Family::PackageRefused,
                    "fixture-failed",
                    format!("fixture {:?}: {reason}", fixture.name),
                )
            })?;
        }
        Ok(())
    }
}

impl Engine {
    /// The answer to a fixture. Of a model that emits, each output is the one that came last.
    async fn run_fixture(
        &self,
        model: &LoadedModel,
        request: InferRequest,
    ) -> Result<InferResponse, EngineError> {
        let (sender, mut receiver) = stream_items();
        let scope = Scope { items: Some(sender), ..Scope::default() };
        let answer = (model.name.clone(), model.version);
        let running = async move {
            let host = Host { inner: self.inner(), scope };
            model.pipeline.run(&host, request, answer).await
        };
        let mut last: BTreeMap<Arc<str>, Tensor> = BTreeMap::new();
        let reading = async {
            while let Some(item) = receiver.next().await {
                last.extend(item.response.outputs);
            }
        };
        let (answer, ()) = tokio::join!(running, reading);
        let mut answer = answer?;
        last.extend(answer.outputs);
        answer.outputs = last.into_iter().collect();
        Ok(answer)
    }
}

fn signed_release(verified: &VerifiedModel) -> SignedRelease<'_> {
    SignedRelease {
        name: verified.name().as_str(),
        sequence: verified.sequence(),
        digest: *verified.digest(),
    }
}

/// The staged files by name, mapped; `model.toml` is never among them.
///
/// # Errors
/// The registry's.
pub(crate) fn staged_files(
    staged: &StagedModel,
) -> Result<BTreeMap<String, FileBytes>, EngineError> {
    let mut files: BTreeMap<String, FileBytes> = BTreeMap::new();
    for file in staged.files() {
        let mapped = staged.open(&file.name).map_err(|error| of_registry(&error))?;
        files.insert(file.name.clone(), mapped);
    }
    Ok(files)
}

fn list_files(dir: &Path) -> Result<Vec<String>, EngineError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| io_error(dir, &error))? {
        let entry = entry.map_err(|error| io_error(dir, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == STATEMENT_FILE || name.ends_with(CHUNKS_SUFFIX) {
            continue;
        }
        let kind = entry.file_type().map_err(|error| io_error(&entry.path(), &error))?;
        if !kind.is_file() {
            return Err(EngineError::invalid(format!(
                "a model package is a flat folder of plain files; {} is none",
                entry.path().display()
            )));
        }
        names.push(name);
        if names.len() > PACKAGE_FILES_MAX {
            return Err(EngineError::invalid(format!(
                "a model package has at most {PACKAGE_FILES_MAX} files; {} has more",
                dir.display()
            )));
        }
    }
    names.sort();
    Ok(names)
}

fn io_error(path: &Path, error: &std::io::Error) -> EngineError {
    EngineError::new(Family::InvalidInput, "io", format!("{}: {error}", path.display()))
}
