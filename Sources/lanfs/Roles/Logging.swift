import Glibc
import Logging

/// One line on standard error for each event: time, level, text, and the values that go with it.
struct LineLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line = "\(Self.time()) \(event.level) \(event.message)"
        let values = metadata.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in values.sorted(by: { $0.key < $1.key }) { line += " \(key)=\(value)" }
        StandardError.write(line + "\n")
    }

    private static func time() -> String {
        var now = time_t()
        Glibc.time(&now)
        var parts = tm()
        localtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let count = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%S%z", &parts)
        return String(decoding: text[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

enum Logging {
    /// `normal`: what is said without `-q` and `-v`.
    static func logger(_ label: String, _ verbosity: CommonOptions.Verbosity, normal: Logger.Level) -> Logger {
        let level: Logger.Level =
            switch verbosity {
            case .quiet: .error
            case .normal: normal
            case .verbose(1): .debug
            case .verbose: .trace
            }
        return Logger(label: label) { _ in LineLogHandler(logLevel: level) }
    }
}
