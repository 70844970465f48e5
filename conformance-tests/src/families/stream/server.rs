//! The callback of a server of streams.

use anyloop::{
    ConnectionOutcome, StreamReader, StreamWriter, all_tasks, open_connection, start_server,
};
use anyloop_api::{Server, sleep};

use super::super::prelude::*;
use super::{on_a_loop, until_here};

cases! {
    STREAM_19 => an_async_callback_is_a_task, its_error_is_reported_and_closes, so_is_its_panic,
        its_cancellation_closes_silently;
    STREAM_20 => it_need_not_be_async;
}

type Kept = Rc<RefCell<Option<StreamWriter>>>;

/// A server with this callback.
async fn serve<R, Kind>(
    callback: impl Fn(StreamReader, StreamWriter) -> R + 'static,
) -> Result<Server, Failure>
where
    R: ConnectionOutcome<Kind>,
{
    Ok(start_server("127.0.0.1:0", callback).await?)
}

async fn connect(server: &Server) -> Result<(StreamReader, StreamWriter), Failure> {
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    Ok(open_connection(address).await?)
}

/// Connects and reads until the server has closed the connection: what it sent.
async fn visit(server: &Server) -> Result<Vec<u8>, Failure> {
    let (reader, writer) = connect(server).await?;
    let sent = reader.read_to_end().await?;
    writer.close();
    writer.wait_closed().await?;
    Ok(sent)
}

/// What the callback was given is closed, although somebody else still holds it.
fn is_closing(kept: &Kept) -> bool {
    kept.borrow().as_ref().is_some_and(StreamWriter::is_closing)
}

fn an_async_callback_is_a_task(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        // Two clients take turns: neither callback waits for the other to end.
        let turn = Counter::new();
        let theirs = turn.clone();
        let server = serve(move |reader, writer| {
            let turn = theirs.clone();
            async move {
                let is_task = current_task().is_some();
                turn.add();
                reader.read_line().await?;
                writer.write(if is_task { "task" } else { "no task" });
                Ok(())
            }
        })
        .await?;
        let (first, second) = (connect(&server).await?, connect(&server).await?);
        until_here(move || turn.get() == 2).await;
        for (reader, writer) in [second, first] {
            writer.write("go on\n");
            ensure_eq!(reader.read_to_end().await?, b"task", "where the callback runs");
            writer.close();
        }
        Ok(())
    })
}

fn its_error_is_reported_and_closes(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reports = Reports::of(&LoopRef::current()?);
        let kept = Kept::default();
        let keep = kept.clone();
        let server = serve(move |_, writer: StreamWriter| {
            *keep.borrow_mut() = Some(writer.clone());
            async move {
                writer.write("hello");
                yield_now().await;
                Err(Error::usage("no such luck"))
            }
        })
        .await?;
        ensure_eq!(visit(&server).await?, b"hello", "what was sent before the error");
        ensure!(is_closing(&kept), "the connection is open");
        let seen = reports.one()?;
        ensure!(seen.has("transport"), "no transport in {seen:?}");
        let error = seen.exception.as_ref().map(ToString::to_string);
        ensure_eq!(error.as_deref(), Some("no such luck"), "the error of {seen:?}");
        Ok(())
    })
}

fn so_is_its_panic(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reports = Reports::of(&LoopRef::current()?);
        let kept = Kept::default();
        let keep = kept.clone();
        let server = serve(move |_, writer: StreamWriter| {
            *keep.borrow_mut() = Some(writer.clone());
            async move {
                writer.write("hello");
                yield_now().await;
                assert!(writer.is_closing(), "no such luck");
            }
        })
        .await?;
        ensure_eq!(visit(&server).await?, b"hello", "what was sent before the panic");
        ensure!(is_closing(&kept), "the connection is open");
        let seen = reports.one()?;
        ensure!(seen.has("transport"), "no transport in {seen:?}");
        ensure!(seen.is_panic("no such luck"), "the panic is not in {seen:?}");
        Ok(())
    })
}

fn its_cancellation_closes_silently(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reports = Reports::of(&LoopRef::current()?);
        let main = current_task().ok_or_else(|| Failure::new("no task"))?;
        let kept = Kept::default();
        let keep = kept.clone();
        let server = serve(move |_, writer: StreamWriter| {
            *keep.borrow_mut() = Some(writer);
            sleep(FAR)
        })
        .await?;
        let (reader, writer) = connect(&server).await?;
        let kept_too = kept.clone();
        until_here(move || kept_too.borrow().is_some()).await;
        yield_now().await;
        let tasks = all_tasks()?;
        let theirs: Vec<_> = tasks.iter().filter(|task| **task != main).collect();
        ensure_eq!(theirs.len(), 1, "tasks of the server");
        ensure!(theirs[0].cancel(), "the task cannot be cancelled");
        ensure_eq!(reader.read(1).await?, b"", "what the client sees");
        ensure!(is_closing(&kept), "the connection is open");
        writer.close();
        reports.none()
    })
}

fn it_need_not_be_async(cx: &Context) -> Outcome {
    on_a_loop(cx, async {
        let reports = Reports::of(&LoopRef::current()?);
        let calls = Counter::new();
        let theirs = calls.clone();
        let server = serve(move |_, writer: StreamWriter| {
            theirs.add();
            writer.write("done at once");
            writer.close();
        })
        .await?;
        for call in 1..=2 {
            ensure_eq!(visit(&server).await?, b"done at once", "what was sent");
            ensure_eq!(calls.get(), call, "calls");
        }
        reports.none()
    })
}
