//! `files`: the model package's own files, read-only, by range.

use super::bytes::SharedBytes;
use super::{HostError, HostResult, answer};
use crate::error::ErrorFamily;
use crate::metrics::Metrics;
use crate::state::CallState;
use crate::worker::link::CallLink;
use crate::worlds::bindings::files::FileInfo;
use crate::worlds::bindings::types::Error;
use aimass_graph::WeightSource;
use std::ops::Range;
use std::sync::Arc;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};

/// A file that a guest opened.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct FileHandle {
    /// Its bytes, in the host.
    pub(crate) source: Arc<dyn WeightSource>,
    /// Its name in the package.
    pub(crate) name: String,
}

type Handle = Resource<FileHandle>;
type Cx<'a> = StoreContextMut<'a, CallState>;
type Answer<T> = Result<(std::result::Result<T, Error>,)>;

/// Binds the interface.
///
/// # Errors
/// wasmtime's, if a name were defined twice.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut it = linker.instance("aimass:plugin/files@0.1.0")?;
    it.resource("file", ResourceType::host::<FileHandle>(), |mut cx, rep| {
        cx.data_mut().table.delete(Handle::new_own(rep))?;
        Ok(())
    })?;
    it.func_wrap("[method]file.size", |mut cx: Cx<'_>, (file,): (Handle,)| {
        cx.data_mut().count_host_call()?;
        Ok((cx.data().table.get(&file)?.source.len(),))
    })?;
    it.func_wrap_async(
        "[method]file.read",
        |mut cx: Cx<'_>, (file, offset, len): (Handle, u64, u64)| {
            Box::new(async move {
                cx.data_mut().count_host_call()?;
                let (source, name) = match cx.data().readable(&file, offset, len) {
                    Ok(readable) => readable,
                    Err(error) => return answer(Err(error)),
                };
                let read = read_range(&*source, name, offset..offset + len).await;
                if read.is_ok() {
                    Metrics::add(&cx.data().metrics.bytes_read, len);
                }
                answer(read)
            })
        },
    )?;
    it.func_wrap("list", |mut cx: Cx<'_>, (): ()| {
        cx.data_mut().count_host_call()?;
        cx.data_mut().files_seen = true;
        Ok((granted(cx.data()),))
    })?;
    it.func_wrap("open", |mut cx: Cx<'_>, (name,): (String,)| -> Answer<Handle> {
        cx.data_mut().count_host_call()?;
        answer(cx.data_mut().open_file(&name))
    })?;
    Ok(())
}

/// The files that this plugin may read.
pub(crate) fn granted(state: &CallState) -> Vec<FileInfo> {
    let package = &state.package;
    let files = package.files.list().into_iter();
    files
        .filter(|(name, _)| package.may_read(name))
        .map(|(name, size)| FileInfo { name, size })
        .collect()
}

impl CallState {
    fn open_file(&mut self, name: &str) -> HostResult<Handle> {
        self.files_seen = true;
        let source = self.open_source(name)?;
        Ok(self.table.push(FileHandle { source, name: name.to_owned() })?)
    }

    /// A file that was granted.
    ///
    /// # Errors
    /// `not-found/file`, with the names of those that are there.
    pub(crate) fn open_source(&self, name: &str) -> HostResult<Arc<dyn WeightSource>> {
        let source = self.package.may_read(name).then(|| self.package.files.open(name)).flatten();
        source.ok_or_else(|| {
            let names: Vec<String> = granted(self).into_iter().map(|file| file.name).collect();
            let message = format!("there is no file `{name}`; there are: {}", names.join(", "));
            HostError::answer(ErrorFamily::NotFound, "file", message)
        })
    }

    /// The file behind a handle, and its name, if a read may have this range of it.
    fn readable(
        &self,
        file: &Handle,
        offset: u64,
        len: u64,
    ) -> HostResult<(Arc<dyn WeightSource>, String)> {
        let FileHandle { source, name } = self.table.get(file)?;
        let range = self.read_range(offset, len)?;
        if range.end as u64 > source.len() {
            let has = source.len();
            let message = format!("{len} bytes from {offset} are not inside the file's {has}");
            return Err(HostError::input("out-of-range", message));
        }
        Ok((source.clone(), name.clone()))
    }
}

/// Reads a range that lies inside the file, here or in the host of this worker.
async fn read_range(
    source: &dyn WeightSource,
    name: String,
    range: Range<u64>,
) -> HostResult<SharedBytes> {
    let read = match CallLink::current() {
        Some(link) => link.read_file(name, range.start, range.end - range.start).await?,
        None => source.read(range).map_err(|error| error.to_string()),
    };
    let unavailable = |error| HostError::answer(ErrorFamily::Unavailable, "file", error);
    Ok(SharedBytes::of_buffer(read.map_err(unavailable)?))
}
