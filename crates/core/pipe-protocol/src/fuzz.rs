//! What must hold whatever bytes come in: the bodies of the fuzz targets.

use crate::reader::{Form, Readable, Reader, encode};
use crate::{Answer, Connection, DATA_BYTES_MAX, Effect, Event, Request, SessionId};

/// Messages are the same however a stream is cut, and are read again as they are written, in both forms.
///
/// # Panics
/// When a promise is broken.
pub fn messages(input: &[u8]) {
    same_however_cut::<Request>(input, Reader::new);
    for form in [Form::Lines, Form::Frames] {
        same_however_cut::<Answer>(input, || Reader::with_form(form));
    }
}

fn read_all<'a, M: Readable>(reader: &mut Reader<M>, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<M, String>> {
    let mut found = Vec::new();
    for piece in pieces {
        reader.push(piece);
        while let Some(message) = reader.next_message() {
            found.push(message.map_err(|error| error.to_string()));
        }
    }
    found
}

fn same_however_cut<M: Readable + PartialEq + std::fmt::Debug>(input: &[u8], reader: impl Fn() -> Reader<M>) {
    let whole = read_all(&mut reader(), std::iter::once(input));
    let cut = read_all(&mut reader(), input.chunks(1 + input.len() % 7));
    assert_eq!(whole, cut);
    for message in whole.iter().flatten() {
        for form in [Form::Lines, Form::Frames] {
            let mut out = Vec::new();
            encode(message, form, &mut out);
            let again = match form {
                Form::Lines => M::from_line(out.trim_ascii_end()),
                Form::Frames => M::from_frame(&out[4..]),
            };
            assert_eq!(&again.expect("what was written is read"), message);
        }
    }
}

/// A connection asks for nothing before it is greeted, takes no more than it may hold and says something about each mistake.
///
/// # Panics
/// When a promise is broken.
pub fn connection(input: &[u8]) {
    let mut connection = Connection::new();
    let mut is_greeted = false;
    for piece in input.chunks(1 + input.len() % 97) {
        if connection.wants_bytes() {
            connection.handle_bytes(piece);
        }
        while let Some(event) = connection.poll_event() {
            match event {
                Event::Hello { .. } => {
                    assert!(!std::mem::replace(&mut is_greeted, true), "greeted twice");
                    connection.welcome(SessionId::from_bytes([1; 16]), 1);
                }
                Event::Submit(submission, receipt) => {
                    assert!(is_greeted && submission.order.data_bytes() <= DATA_BYTES_MAX);
                    connection.acknowledge(receipt, submission.sequence, Effect::Published { number: 0 });
                }
                Event::Subscribe { .. } => assert!(is_greeted),
                Event::Read { id, .. } => {
                    assert!(is_greeted);
                    connection.tell(id, 0, (0, None));
                }
            }
            connection.handle_written(connection.output().len());
        }
        connection.handle_written(connection.output().len());
    }
}
