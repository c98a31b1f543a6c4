//! What the operator asks the program to do.

/// The action that the operator requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Serve.
    Serve,
    /// Check the configuration and the application, then exit.
    CheckConfig,
    /// Print the configuration, then exit.
    PrintConfig,
    /// Print this text, then exit. The configuration beside it names no application.
    Help(String),
    /// Print this text, then exit. The configuration beside it names no application.
    Version(String),
}
