//! `aimass market serve`: a marketplace on this machine, for people and for hosts.

use super::push::push_all;
use super::{At, online_keys, page, publish};
use crate::home::{Home, runtime};
use crate::report::Report;
use aimass_market::desk::{Desk, DeskKeys};
use aimass_trust::publishing::storage::{Folder, Storage};
use aimass_trust::{BUNDLE_BYTES_MAX, COMPONENT_BYTES_MAX};
use anyhow::Context;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use clap::Args;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Answers under way at once; more are told to come again.
const REQUESTS_MAX: usize = 64;
/// Submissions received at once: each may hold 72 MiB.
const SUBMISSIONS_MAX: usize = 2;
/// Time for receiving a submission.
const SUBMISSION_TIME_MAX: Duration = Duration::from_secs(120);

/// Serve the marketplace with a page for people.
///
/// Everything that hosts read is a static file below `public`, so that any web server can serve it as
/// well. This one also takes submissions, and with --refresh keeps the timestamp fresh. It has no TLS
/// and no accounts: on a network put a proxy before it.
///
/// Example: `aimass market serve --listen 127.0.0.1:8080 --refresh 6h`
///
/// Next: publishers run `aimass plugin submit FILE --to ADDRESS`, operators `aimass trust add NAME ADDRESS`.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    at: At,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Take no submissions
    #[arg(long)]
    read_only: bool,
    /// Sign a new timestamp every so many hours, such as `6h`, and once at the start; push it to the
    /// registries of market.toml
    #[arg(long, value_name = "HOURS")]
    refresh: Option<String>,
}

struct Shop {
    desk: Desk,
    requests: Semaphore,
    submissions: Semaphore,
}

impl Serve {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let every = self.refresh.as_deref().map(publish::hours).transpose()?;
        if let Some(every) = every {
            let (desk, keys) = (self.at.open()?, online_keys(home, &desk)?);
            std::thread::spawn(move || keep_fresh(&desk, &keys, every));
        }
        runtime()?.block_on(self.serve(desk))
    }

    async fn serve(self, desk: Desk) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("{} cannot be listened on", self.listen))?;
        let address = listener.local_addr()?;
        let dir = desk.dir().display().to_string();
        let router = router(desk, self.read_only);
        println!("serving   http://{address}  (marketplace {dir}; Ctrl-C ends)");
        println!("next      aimass trust add NAME http://{address}");
        let stop = async {
            // Without signals it serves until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Ok(serve(listener, router).with_graceful_shutdown(stop).await?)
    }
}

/// Refreshes until the process ends. What fails is told, and tried again in a minute.
fn keep_fresh(desk: &Desk, keys: &DeskKeys, every: Duration) {
    loop {
        let wait = match refresh(desk, keys) {
            Ok(()) => every,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "not refreshed everywhere");
                Duration::from_secs(60)
            }
        };
        std::thread::sleep(wait);
    }
}

fn refresh(desk: &Desk, keys: &DeskKeys) -> anyhow::Result<()> {
    let _lock = desk.lock()?;
    desk.refresh(keys, SystemTime::now())?;
    push_all(desk, &[], &mut Report::new(true))
}

fn router(desk: Desk, read_only: bool) -> Router {
    let shop = Arc::new(Shop {
        desk,
        requests: Semaphore::new(REQUESTS_MAX),
        submissions: Semaphore::new(SUBMISSIONS_MAX),
    });
    let router = Router::new().route("/", get(front)).route("/{*path}", get(file));
    let router = if read_only { router } else { router.route("/submit", post(submit)) };
    router.with_state(shop)
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "busy\n").into_response()
}

async fn front(State(shop): State<Arc<Shop>>) -> Response {
    let Ok(_permit) = shop.requests.try_acquire() else { return busy() };
    let made = {
        let shop = shop.clone();
        tokio::task::spawn_blocking(move || page::html(&shop.desk)).await
    };
    match made {
        Ok(Ok(page)) => {
            let rules = "default-src 'none'; style-src 'unsafe-inline'";
            ([(header::CONTENT_SECURITY_POLICY, rules)], Html(page)).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the page could not be made");
            (StatusCode::INTERNAL_SERVER_ERROR, "the marketplace is damaged\n").into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn file(State(shop): State<Arc<Shop>>, Path(path): Path<String>) -> Response {
    let Ok(_permit) = shop.requests.try_acquire() else { return busy() };
    let fixed = !matches!(&*path, "metadata/timestamp.json" | "log/checkpoint");
    let kind = match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some("policy" | "tlog-proof") => "text/plain; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    };
    let folder = Folder::new(&shop.desk.public_dir());
    let read = tokio::task::spawn_blocking(move || {
        // What is being written is not to be seen; other paths are the storage's to refuse.
        if path == "log/pending" {
            return Ok(None);
        }
        folder.read(&path, COMPONENT_BYTES_MAX)
    });
    match read.await {
        Ok(Ok(Some(bytes))) => {
            let cache = if fixed { "public, max-age=86400" } else { "no-cache" };
            let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
            (headers, bytes).into_response()
        }
        Ok(Ok(None) | Err(_)) => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn submit(State(shop): State<Arc<Shop>>, body: Body) -> Response {
    let Ok(_permit) = shop.submissions.try_acquire() else { return busy() };
    let received = tokio::time::timeout(SUBMISSION_TIME_MAX, to_bytes(body, BUNDLE_BYTES_MAX));
    let bytes = match received.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "at most 72 MiB\n").into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "at most 120 s\n").into_response(),
    };
    let shop = shop.clone();
    let taken = tokio::task::spawn_blocking(move || shop.desk.submit(&bytes)).await;
    match taken {
        Ok(Ok(summary)) => {
            let text = format!("{} waits for {}\n", summary.release, "a review");
            (StatusCode::ACCEPTED, text).into_response()
        }
        Ok(Err(error)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
