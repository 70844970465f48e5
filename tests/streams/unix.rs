//! Streams over local sockets.

use super::*;
use anyloop::{
    UnixBind, UnixConnect, open_unix_connection, open_unix_connection_with_limit, start_unix_server,
};

async fn shout(reader: StreamReader, writer: StreamWriter) -> Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(line.to_ascii_uppercase());
        writer.drain().await?;
    }
    Ok(())
}

on_every_backend! {
    fn lines_over_a_path_and_over_an_abstract_name(backend) {
        support::run(backend, async move {
            let name = format!("anyloop-test-{}-{backend}", std::process::id());
            let path = std::env::temp_dir().join(&name);
            let hidden = || UnixConnect::abstract_name(&name);
            let servers = [
                start_unix_server(&path, shout).await?,
                start_unix_server(UnixBind::abstract_name(&name), shout).await?,
            ];
            let clients =
                [open_unix_connection(&path).await?, open_unix_connection(hidden()).await?];
            for (reader, writer) in clients {
                writer.write("one\ntwo");
                writer.write_eof()?;
                assert_eq!(reader.next_line().await?.as_deref(), Some(&b"ONE\n"[..]));
                assert_eq!(reader.next_line().await?.as_deref(), Some(&b"TWO"[..]));
                assert_eq!(reader.next_line().await?, None);
                writer.close();
                writer.wait_closed().await?;
            }
            for server in servers {
                server.close();
                server.wait_closed().await?;
            }
            assert!(!path.exists());
            Ok(())
        })?
    }

    fn refused_without_a_server_or_a_limit(backend) {
        support::run(backend, async move {
            let error = failed(open_unix_connection("/no/such/socket").await);
            assert_eq!(error.io_kind(), std::io::ErrorKind::NotFound);
            let error = failed(open_unix_connection_with_limit("/no/such/socket", 0).await);
            assert!(matches!(error, Error::InvalidArg(_)), "{error}");
            Ok(())
        })?
    }
}
