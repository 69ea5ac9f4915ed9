import LanfsLocal
import LanfsNetwork
import LanfsStore
import SystemPackage

/// Why a server did not start: what failed, on what, why, and what to do next.
public enum ServerError: Error, Equatable, Sendable {
    case identity(IdentityError)
    case authorizedFile(AuthorizedListError)
    case local(LocalFileError)
    case store(StoreError)
    case network(NetworkError)
    /// It was told to stop before it had started.
    case stopped
}

extension ServerError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .identity(let error): error.description
        case .authorizedFile(let error): error.description
        case .local(let error): error.description
        case .store(let error): error.description
        case .network(.cannotListen(let address, let reason)):
            "cannot listen on \(address): \(reason); stop whatever uses it, or choose another with --port, "
                + "--listen or --discovery-port"
        case .network(let error): error.description
        case .stopped: "the server was stopped before it had started"
        }
    }
}
