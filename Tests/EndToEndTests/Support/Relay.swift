import Glibc
import Synchronization
import SystemPackage

/// Passes TCP connections on to a port of this machine and keeps every byte it saw, in both directions; a slow one only
/// counts them.
final class Relay: Sendable {
    let port: UInt16
    private let listener: Int32
    /// Bytes a second in each direction; nil: all that comes.
    private let rate: Int?
    private let state = Mutex<(stopped: Bool, seen: [UInt8], count: Int)>((false, [], 0))

    /// Everything that crossed, the directions apart in pieces as they came.
    var seen: [UInt8] { state.withLock { $0.seen } }
    var count: Int { state.withLock { $0.count } }

    init(to target: UInt16, rate: Int? = nil) throws {
        self.rate = rate
        let listener = try check(socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0))
        self.listener = listener
        port = try bindLoopback(listener)
        try check(listen(listener, 16))
        onThread { [self] in
            while isReadable(listener) {
                let client = accept(listener, nil, nil)
                if client < 0 { continue }
                onThread { self.pass(client, target) }
            }
            close(listener)
        }
    }

    func stop() { state.withLock { $0.stopped = true } }

    /// Waits until there is something to read; false once the relay is stopped.
    private func isReadable(_ descriptor: Int32) -> Bool {
        while !state.withLock({ $0.stopped }) {
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&wanted, 1, 100) > 0 { return true }
        }
        return false
    }

    private func pass(_ client: Int32, _ target: UInt16) {
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        var address = loopback(port: target)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(server, $0, size) }
        }
        if result == 0 {
            let back = Flag()
            onThread { [self] in
                copy(from: server, to: client)
                back.set()
            }
            copy(from: client, to: server)
            while !back.isSet { usleep(1_000) }
        }
        close(client)
        close(server)
    }

    private func copy(from source: Int32, to target: Int32) {
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while isReadable(source) {
            let count = read(source, &buffer, buffer.count)
            if count <= 0 { break }
            state.withLock { state in
                state.count += count
                if rate == nil { state.seen += buffer[..<count] }
            }
            if let rate { usleep(UInt32(count * 1_000_000 / rate)) }
            var done = 0
            while done < count {
                let sent = buffer.withUnsafeBytes { all in
                    send(target, all.baseAddress.map { $0 + done }, count - done, Int32(MSG_NOSIGNAL))
                }
                if sent <= 0 { break }
                done += sent
            }
        }
        shutdown(target, Int32(SHUT_WR))
    }
}

private final class Flag: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
}
