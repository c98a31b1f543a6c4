//! Access: which users there are and whether a password is theirs, and what is asked of another service about a
//! request and what its answer means. Sans I/O: files, sockets, clocks and threads belong to the caller.
#![forbid(unsafe_code)]

mod credentials;
mod forward;
mod hash;
mod new_line;
mod users;
mod verified;

pub use credentials::{Credentials, NoCredentials};
pub use forward::answer::{AnswerReader, BadAnswer, ServiceAnswer};
pub use forward::copied::CopiedNames;
pub use forward::question::Question;
pub use hash::{HashFault, LONGEST_BCRYPT_PASSWORD, PasswordHash, SALT_LENGTH};
pub use new_line::{Algorithm, NotHashed, new_line};
pub use users::{UserFault, Users, UsersFault, check_name};
pub use verified::{Secret, Verified, VerifiedKey};
