//! Streams beside the engine's: pieces to catch up with, one a stream, and clients, one a stream each.

use super::event::{ClientStream, Event, Stream};
use super::frames::{FrameReader, StreamError, write_frame};
use super::queue::QueueReceiver;
use super::session::Context;
use crate::frame::{Kind, decode_number, encode_message};
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Sends each message on a stream of its own. A stream that the peer refuses is its loss alone.
pub(super) async fn write_catch_up(context: Context, mut queue: QueueReceiver) {
    loop {
        for message in queue.batch().await {
            let Ok(mut send) = context.closer.connection.open_uni().await else { return };
            let mut bytes = Vec::with_capacity(message.len() + crate::frame::HEADER_LEN);
            encode_message(&message, &mut bytes);
            if send.write_chunk(bytes.into()).await.is_ok() {
                let _ = send.finish();
            }
        }
    }
}

/// Reads every stream in a task of its own; QUIC bounds how many there are.
pub(super) async fn accept_catch_up(context: Context) {
    let mut tasks = JoinSet::new();
    while let Ok(receive) = context.closer.connection.accept_uni().await {
        while tasks.try_join_next().is_some() {}
        tasks.spawn(read_catch_up(context.clone(), receive));
    }
}

async fn read_catch_up(context: Context, receive: RecvStream) {
    let mut reader = FrameReader::new(receive);
    let error = match reader.message().await {
        Ok(Some(message)) => context.emit_frame(Stream::CatchUp, message).await.err(),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        context.judge(error);
    }
}

/// Runs the streams of clients, whoever opened them.
pub(super) async fn serve_clients(context: Context, mut opened: mpsc::Receiver<(ClientStream, QueueReceiver)>) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            accepted = context.closer.connection.accept_bi() => {
                let Ok((send, receive)) = accepted else { return };
                tasks.spawn(accept_client(context.clone(), send, receive));
            }
            open = opened.recv() => {
                let Some((client, queue)) = open else { return };
                tasks.spawn(open_client(context.clone(), client, queue));
            }
        }
    }
}

async fn open_client(context: Context, client: ClientStream, queue: QueueReceiver) {
    let Ok((mut send, receive)) = context.closer.connection.open_bi().await else { return };
    if write_frame(&mut send, Kind::Open, &client.number.to_be_bytes()).await.is_err() {
        context.shared.finish(context.peer, context.session, client);
    }
    carry_client(context, client, send, FrameReader::new(receive), queue).await;
}

async fn accept_client(context: Context, send: SendStream, receive: RecvStream) {
    let mut reader = FrameReader::new(receive);
    let number = match reader.expect(Kind::Open).await {
        Ok(body) => decode_number(&body).map_err(StreamError::from),
        Err(error) => Err(error),
    };
    let number = match number {
        Ok(number) => number,
        Err(error) => return context.judge(error),
    };
    let client = ClientStream { opened_here: false, number };
    let Some(queue) = context.shared.accept_client(context.peer, context.session, client) else {
        return context.judge(crate::frame::FrameError::OutOfPlace.into());
    };
    carry_client(context, client, send, reader, queue).await;
}

/// Both directions of one client, each until its sender is done.
async fn carry_client(
    context: Context,
    client: ClientStream,
    send: SendStream,
    mut reader: FrameReader,
    queue: QueueReceiver,
) {
    let reading = async {
        let is_whole = loop {
            match reader.message().await {
                Ok(Some(message)) => {
                    if context.emit_frame(Stream::Client(client), message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break true,
                Err(error) => {
                    context.judge(error);
                    break false;
                }
            }
        };
        let (peer, session) = (context.peer, context.session);
        let _ = context.shared.events.emit(Event::Finished { peer, session, stream: client, is_whole }).await;
    };
    tokio::join!(reading, write_client(send, queue));
    context.shared.finish(context.peer, context.session, client);
}

async fn write_client(mut send: SendStream, mut queue: QueueReceiver) {
    loop {
        let batch = queue.batch().await;
        if batch.is_empty() {
            let _ = send.finish();
            return;
        }
        let mut bytes = Vec::new();
        for message in &batch {
            encode_message(message, &mut bytes);
        }
        if send.write_chunk(bytes.into()).await.is_err() {
            return;
        }
    }
}
