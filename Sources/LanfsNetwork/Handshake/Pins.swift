import LanfsCrypto
import LanfsProtocol

public enum ClientTag {}
/// A client's static X25519 public key, one for each server it uses.
public typealias ClientID = ID<ClientTag>

/// What a client keeps of a server it has met.
public struct Pin: Sendable {
    /// The server's static public key: it must prove this one again.
    public let server: ServerID
    /// This client's own key pair for this server, so that servers cannot tell that two of theirs are one client.
    public let clientKey: StaticKeyPair
    /// 32 bytes that only these two know, mixed into every handshake after the first.
    public let pairwiseKey: SharedSecret

    public init(server: ServerID, clientKey: StaticKeyPair, pairwiseKey: SharedSecret) {
        self.server = server
        self.clientKey = clientKey
        self.pairwiseKey = pairwiseKey
    }
}

/// The client's memory of servers. Called from the task that connects, never on an event loop: it may use the disk.
public protocol Pins: Sendable {
    func pin(of server: ServerID) -> Pin?
    /// Must be on disk when it returns. Replaces what was known of this server (its pairwise key may be new; its key
    /// cannot be: the key is the server's id).
    func keep(_ pin: Pin) throws
    /// The key pair to show to a server that is met for the first time.
    func newClientKey() -> StaticKeyPair
}

extension Pins {
    /// One for each server.
    public func newClientKey() -> StaticKeyPair { .generate() }
}

/// The server's memory of clients. Called on event loops: answer from memory and write in the background.
///
/// Losing an entry is harmless (the client starts over with XX, requiring the same server key), so keep a bounded
/// number: every stranger on the LAN can make one.
public protocol Pairings: Sendable {
    func pairwiseKey(with client: ClientID) -> SharedSecret?
    func keep(_ pairwiseKey: SharedSecret, with client: ClientID)
}
