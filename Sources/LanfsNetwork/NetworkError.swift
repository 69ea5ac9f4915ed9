/// Why something on the network did not happen: what failed, where, why, and in `description` what to do next.
public enum NetworkError: Error, Equatable, Sendable {
    /// The name has no address.
    case unresolvable(host: String, reason: String)
    /// No known address of the server was worth a try: discovery found none and none was given.
    case noAddress(of: String)
    /// TCP did not connect.
    case unreachable(address: String, reason: String)
    /// The other side speaks another protocol, or another version of this one.
    case notLanfs(address: String)
    case otherVersion(address: String, ours: UInt8, theirs: UInt8)
    case handshakeFailed(address: String, reason: String)
    /// The server proved a key, but not the one that is expected of it. Fingerprints as people compare them.
    case wrongServerKey(address: String, expected: String, found: String)
    /// The connection is secure but the server's pin could not be written down.
    case pinNotKept(server: String, reason: String)
    /// A step (named by `what`) took longer than it may.
    case timedOut(what: String, address: String)
    /// The connection ended, or was found dead; requests under way may or may not have been carried out.
    case disconnected(address: String, reason: String)
    /// The other side sent what no correct implementation sends, or somebody changed it on the way.
    case violation(address: String, what: String)
    /// This side closed the connection, link or listener.
    case closed(address: String)
    /// A request longer than any server takes (`Limits.messageSize`): the caller must split it.
    case messageTooLong
    /// More is waiting to be sent than this side keeps in memory.
    case overloaded(address: String, bytes: Int)
    /// The caller's task was cancelled.
    case cancelled
    /// No connection by the caller's deadline; why the last attempt failed, when there was one.
    case deadlineExceeded(server: String, lastFailure: String?)
    /// The server answered, and said no when the session was opened.
    case refused(server: String, reason: String)
    /// The system does not let this process listen or search there.
    case cannotListen(address: String, reason: String)
    case cannotSearch(reason: String)
}

extension NetworkError {
    /// Trying again will not help until a person changes something.
    public var isPermanent: Bool {
        switch self {
        case .wrongServerKey, .otherVersion, .refused, .pinNotKept: true
        default: false
        }
    }
}

extension NetworkError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unresolvable(let host, let reason):
            "the name \(host) has no address: \(reason); check its spelling or give the IP address"
        case .noAddress(let server):
            "no address of server \(server) is known: it did not answer on this network; "
                + "is `lanfs serve` running there? Where broadcast does not reach, name it with --server HOST[:PORT]"
        case .unreachable(let address, let reason):
            "cannot connect to \(address): \(reason); is `lanfs serve` running there, and its port not blocked?"
        case .notLanfs(let address):
            "what answers at \(address) is not a lanfs server; check host and port"
        case .otherVersion(let address, let ours, let theirs):
            "\(address) speaks version \(theirs) of the lanfs protocol, this program version \(ours): "
                + "update the older of the two"
        case .handshakeFailed(let address, let reason):
            "no secure connection to \(address): \(reason)"
        case .wrongServerKey(let address, let expected, let found):
            "the server at \(address) has another key than the one known for it: expected \(expected), found \(found). "
                + "Either it was installed anew and what it kept is gone, or somebody pretends to be it; see lanfs-serve(1)"
        case .pinNotKept(let server, let reason):
            "the key of server \(server) could not be saved, and without that the next connection could not be "
                + "checked: \(reason)"
        case .timedOut(let what, let address):
            "\(what) with \(address) took too long"
        case .disconnected(let address, let reason):
            "the connection to \(address) is gone: \(reason)"
        case .violation(let address, let what):
            "\(address) broke the protocol: \(what); the connection was closed"
        case .closed(let address):
            "the connection to \(address) was closed here"
        case .messageTooLong:
            "a request is longer than any server takes; this is a defect of lanfs, please report it"
        case .overloaded(let address, let bytes):
            "\(bytes) bytes already wait to be sent to \(address): no more is accepted before some of it has left"
        case .cancelled:
            "cancelled"
        case .deadlineExceeded(let server, let lastFailure):
            "no connection to server \(server) in the time allowed"
                + (lastFailure.map { "; last attempt: \($0)" } ?? "")
        case .refused(let server, let reason):
            "server \(server) refused: \(reason)"
        case .cannotListen(let address, let reason):
            "cannot listen on \(address): \(reason)"
        case .cannotSearch(let reason):
            "cannot search for servers: \(reason)"
        }
    }
}
