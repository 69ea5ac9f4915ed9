import Glibc
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import NIOPosix

/// `lanfs serve` on a folder and a port of this machine that nobody else uses.
final class ServerProcess {
    private let arguments: [String]
    let port: Int
    private var process: pid_t = 0

    init(_ program: String, folder: String) throws {
        port = try Self.freePort()
        arguments = [
            program, "serve", "-q", "-d", folder, "--listen", "127.0.0.1", "--port", "\(port)",
            "--discovery-port", "\(port)",
        ]
        try start()
    }

    func start() throws {
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        guard posix_spawnp(&process, arguments[0], nil, nil, &words, environ) == 0 else {
            throw Failure("\(arguments[0]) cannot be started")
        }
    }

    /// kill -9.
    func end() {
        kill(process, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
    }

    /// A session on the volume, as soon as the server takes it.
    func open(_ key: VolumeKey, _ pins: any Pins) async throws -> RPCConnection {
        guard let id = VolumeID(key.volumeID) else { throw Failure("the key has no volume") }
        while true {
            do {
                let connection = try await RPCConnection.connect(
                    to: [Endpoint(host: "127.0.0.1", port: port)], server: nil, pins: pins,
                    group: MultiThreadedEventLoopGroup.singleton)
                let proof = key.signingKey.sign(sessionProof(handshakeHash: connection.handshakeHash))
                let reply = try await connection.call(.open(volume: id, proof: proof))
                guard case .done = reply.response else { throw Failure("the volume is not opened: \(reply.response)") }
                return connection
            } catch NetworkError.unreachable {
                guard waitpid(process, nil, WNOHANG) == 0 else { throw Failure("the server has ended") }
                usleep(1_000)
            }
        }
    }

    /// Processor time it has used, in seconds.
    var computed: Double {
        var words = ""
        if let file = fopen("/proc/\(process)/stat", "r") {
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 1024)
            if fgets(&line, 1024, file) != nil { words = line.withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
        }
        // Behind the name in brackets: state is the first, utime the 12th, stime the 13th.
        let fields = words.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// MiB of memory that it had at most.
    var peakMemory: Int {
        guard let file = fopen("/proc/\(process)/status", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, 256, file) != nil {
            let words = line.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                .split(whereSeparator: \.isWhitespace)
            if words.first == "VmHWM:", words.count > 1, let kilobytes = Int(words[1]) { return kilobytes >> 10 }
        }
        return 0
    }

    private static func freePort() throws -> Int {
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) == 0 && getsockname(socket, $0, &size) == 0
            }
        }
        guard isBound else { throw Failure("no port is free") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}
