import LanfsCrypto
import LanfsProtocol
import NIOCore

@testable import LanfsNetwork

private let serverKey = fixedKey(1)
private let clientKey = fixedKey(2)
private let sharedKey = SharedSecret(copying: [UInt8](repeating: 3, count: 32))

func fixedKey(_ byte: UInt8) -> StaticKeyPair {
    guard let pair = try? StaticKeyPair(privateKey: SharedSecret(copying: [UInt8](repeating: byte, count: 32))) else {
        fatalError("32 bytes are a key")
    }
    return pair
}

private struct OnePairing: Pairings {
    func pairwiseKey(with client: ClientID) -> SharedSecret? {
        client.bytes == clientKey.publicKey ? sharedKey : nil
    }
    func keep(_ pairwiseKey: SharedSecret, with client: ClientID) {}
}

private func initiator(pinned: Bool) -> InitiatorHandshake? {
    guard let server = ServerID(serverKey.publicKey) else { return nil }
    let pin = pinned ? Pin(server: server, clientKey: clientKey, pairwiseKey: sharedKey) : nil
    return try? InitiatorHandshake(pin: pin, clientKey: clientKey, required: server)
}

extension Target {
    /// The first bytes of a connection, to either side, in parts of some size. First byte: who receives, and whether
    /// the rest is the wire itself or changes what an honest side says.
    static let handshake = Target(
        name: "handshake",
        seeds: {
            let xx = HandshakeWire.prologue(.xx) + HandshakeWire.framed([UInt8](repeating: 9, count: 32))
            let ik = HandshakeWire.prologue(.ikPSK2) + HandshakeWire.framed([UInt8](repeating: 9, count: 96))
            return [
                [0, 255] + xx, [0, 7] + ik, [0, 1] + HandshakeWire.magic + [9, 1],
                [1, 255, 0] + HandshakeWire.framed([UInt8](repeating: 9, count: 96)),
                [2, 5, 0] + HandshakeWire.framed([UInt8](repeating: 9, count: 48)), [1, 1, 2, 9],
                [4, 0], [5, 0], [4, 3, 40, 1], [5, 7, 60, 2],
            ]
        },
        run: { bytes in
            var input = Input(bytes)
            let kind = input.byte()
            let step = max(1, Int(input.byte()))
            guard let client = initiator(pinned: kind & 2 != 0 || kind == 5) else { return }
            let server = ResponderHandshake(serverKey: serverKey, pairings: OnePairing())
            if kind & 4 != 0 {
                talk(client, server, step: step, changes: input.all())
            } else {
                if kind & 3 != 0 { _ = client.start() }
                let isKnown = receive(kind & 3 == 0 ? server : client, input.all(), step: step)
                require(!isKnown, "a session with somebody who has no key")
            }
        })

    /// A message of the Noise handshakes by themselves. First byte: pattern and role.
    static let noise = Target(
        name: "noise",
        seeds: {
            [[0] + [UInt8](repeating: 9, count: 32), [1] + [UInt8](repeating: 9, count: 96), [2], [3], [4]]
        },
        run: { bytes in
            var input = Input(bytes)
            let kind = input.byte()
            let pattern = kind & 1 == 0 ? HandshakePattern.xx : .ikPSK2
            do {
                var state = try HandshakeState(
                    pattern: pattern, role: kind & 2 == 0 ? .responder : .initiator, prologue: [],
                    staticKey: serverKey,
                    remoteStatic: kind & 3 == 3 ? clientKey.publicKey : nil)
                if kind & 4 != 0 { try state.setPSK(sharedKey) }
                if kind & 2 != 0 { _ = try state.writeMessage() }
                _ = try state.readMessage(kind & 8 != 0 ? input.piece() : input.all())
                _ = state.remoteStatic
                _ = try state.writeMessage(input.all())
                _ = try state.split()
            } catch {}
        })
}

/// Feeds one side; whether it ends with a session.
private func receive(_ side: any Handshake, _ bytes: [UInt8], step: Int) -> Bool {
    var buffer = ByteBuffer()
    var rest = bytes[...]
    while !rest.isEmpty {
        buffer.writeBytes(rest.prefix(step))
        rest = rest.dropFirst(step)
        reading: while true {
            switch side.receive(&buffer) {
            case .needsMore: break reading
            case .send: continue
            case .finished: return true
            case .failed: return false
            }
        }
    }
    return false
}

/// Both sides honest, the wire between them not: pairs of a position in all that is said and what is XORed to it there.
private func talk(_ client: any Handshake, _ server: any Handshake, step: Int, changes: [UInt8]) {
    var masks: [Int: UInt8] = [:]
    for pair in stride(from: 0, to: changes.count - 1, by: 2) { masks[Int(changes[pair])] = changes[pair + 1] }
    var said = 0
    var buffers = [ByteBuffer(), ByteBuffer()]
    var wires: [[UInt8]] = [[], []]
    var sessions: [Session?] = [nil, nil]
    func take(_ result: HandshakeStep, from side: Int) -> Bool {
        var bytes: [UInt8]
        switch result {
        case .needsMore: return false
        case .send(let sent): bytes = sent
        case .failed(let sent, _): bytes = sent
        case .finished(let sent, let session):
            bytes = sent
            sessions[side] = session
        }
        for index in bytes.indices {
            bytes[index] ^= masks[said] ?? 0
            said += 1
        }
        wires[1 - side] += bytes
        if case .send = result { return true }
        return false
    }
    let sides = [client, server]
    _ = take(client.start(), from: 0)
    while let side = wires.firstIndex(where: { !$0.isEmpty }) {
        buffers[side].writeBytes(wires[side].prefix(step))
        wires[side].removeFirst(min(step, wires[side].count))
        guard sessions[side] == nil else { continue }
        while take(sides[side].receive(&buffers[side]), from: side) {}
    }
    let wasChanged = masks.contains { $0.key < said && $0.value != 0 }
    if let ours = sessions[0], let theirs = sessions[1], ours.sendKey == theirs.receiveKey {
        require(!wasChanged, "a session over changed messages")
    } else {
        require(wasChanged, "no session between honest sides")
    }
}
