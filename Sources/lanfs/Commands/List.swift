import Glibc
import LanfsClient
import LanfsFileSystem

/// `lanfs ls`.
enum List {
    static func run(_ options: ListOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let volume = try await session.open(try session.key(), .never) {
            $0.readOnly = true
            $0.snapshot = options.snapshot?.text
        }
        defer { volume.abandon() }
        let report = TransferReport("lanfs ls", options.client.common.verbosity)
        var isFirst = true
        var incomplete = 0
        var away: [String] = []
        for path in options.paths {
            var unwritten: CommandError?
            do throws(TransferError) {
                let path = LanfsClient.VolumePath(path)
                try await volume.list(path, isRecursive: options.recursive) { (folder, entries) throws(TransferError) in
                    guard unwritten == nil else { return }
                    do throws(CommandError) {
                        try print(entries, of: folder, isFirst: isFirst, options)
                    } catch {
                        unwritten = error
                    }
                    isFirst = false
                    for entry in entries where !entry.awayServers.isEmpty {
                        incomplete += 1
                        away = entry.awayServers
                    }
                }
            } catch {
                report.fail(CommandError(error))
                if error.endsTransfer { break }
            }
            if let unwritten { throw unwritten }
        }
        if incomplete > 0, options.client.common.verbosity != .quiet {
            let files = incomplete == 1 ? "one file" : "\(incomplete) files"
            let names = Printable.text(Array(away.joined(separator: ", ").utf8))
            StandardError.write(
                "lanfs ls: \(files) cannot be read whole until servers are back that are away: \(names)\n")
        }
        return try report.end(json: false)
    }

    private static func print(
        _ entries: [Listed], of folder: LanfsClient.VolumePath, isFirst: Bool, _ options: ListOptions
    ) throws(CommandError) {
        var output = StandardOutput()
        if options.json {
            for entry in entries { try output.write(json(entry).encoded + [UInt8(ascii: "\n")]) }
            return try output.flush()
        }
        let shown = options.all ? entries : entries.filter { $0.path.name?.first != UInt8(ascii: ".") }
        let isTyped = Terminal.isTerminal(STDOUT_FILENO)
        if options.recursive || options.paths.count > 1 {
            try output.write((isFirst ? "" : "\n") + "\(Printable.text(folder.bytes)):\n")
        }
        if options.long {
            try output.write(long(shown, options))
        } else if let columns = Terminal.columns(STDOUT_FILENO), !options.onePerLine {
            try output.write(TextTable.grid(shown.map { Printable.text($0.path.name ?? []) + mark($0) }, columns: columns))
        } else {
            for entry in shown {
                let name = entry.path.name ?? []
                let shown = isTyped ? Array((Printable.text(name) + mark(entry)).utf8) : name
                try output.write(shown + [UInt8(ascii: "\n")])
            }
        }
        try output.flush()
    }

    /// Where people read it; what reads names from a pipe gets names.
    private static func mark(_ entry: Listed) -> String { entry.awayServers.isEmpty ? "" : " [incomplete]" }

    private static func long(_ entries: [Listed], _ options: ListOptions) -> String {
        var table = TextTable([.left, .right, .right, .right, .right, .left, .left])
        for entry in entries {
            let attributes = entry.attributes
            var name = Printable.text(entry.path.name ?? [])
            if let target = entry.target { name += " -> \(Printable.text(target))" }
            name += mark(entry)
            table.add([
                mode(attributes), String(attributes.linkCount), String(attributes.user), String(attributes.group),
                options.humanReadable ? HumanSize.compact(attributes.size) : String(attributes.size),
                date(attributes.modified), name,
            ])
        }
        return table.text
    }

    private static func mode(_ attributes: Attributes) -> String {
        let type =
            switch attributes.type {
            case .regular: "-"
            case .directory: "d"
            case .symlink: "l"
            case .fifo: "p"
            case .socket: "s"
            case .characterDevice: "c"
            case .blockDevice: "b"
            }
        let bits = attributes.permissions
        var text = type
        for (shift, special, letter) in [(6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")] as [(UInt16, UInt16, String)] {
            text += bits >> shift & 4 != 0 ? "r" : "-"
            text += bits >> shift & 2 != 0 ? "w" : "-"
            let runs = bits >> shift & 1 != 0
            text += bits & special != 0 ? (runs ? letter : letter.uppercased()) : runs ? "x" : "-"
        }
        return text
    }

    private static func date(_ time: Timestamp) -> String {
        var seconds = time_t(time.seconds)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return formatted(parts, "%Y-%m-%d %H:%M")
    }

    private static func json(_ entry: Listed) -> JSONValue {
        let attributes = entry.attributes
        let type =
            switch attributes.type {
            case .regular: "file"
            case .directory: "folder"
            case .symlink: "symlink"
            case .fifo: "fifo"
            case .socket: "socket"
            case .characterDevice: "character"
            case .blockDevice: "block"
            }
        var members: [JSONValue.Member] = []
        members.append("path", bytes: entry.path.bytes)
        members.append(.init("type", .string(type)))
        members.append(.init("mode", .unsigned(UInt64(attributes.permissions))))
        members.append(.init("links", .unsigned(UInt64(attributes.linkCount))))
        members.append(.init("user", .unsigned(UInt64(attributes.user))))
        members.append(.init("group", .unsigned(UInt64(attributes.group))))
        members.append(.init("size", .unsigned(attributes.size)))
        members.append(.init("modified", .string(utc(attributes.modified))))
        if let target = entry.target { members.append("target", bytes: target) }
        if entry.attributes.type == .regular {
            members.append(.init("incomplete", .bool(!entry.awayServers.isEmpty)))
            if !entry.awayServers.isEmpty {
                members.append(.init("away", .array(entry.awayServers.map { .string($0) })))
            }
        }
        return .object(members)
    }

    /// RFC 3339.
    private static func utc(_ time: Timestamp) -> String {
        var seconds = time_t(time.seconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let nanoseconds = String(time.nanoseconds)
        return formatted(parts, "%Y-%m-%dT%H:%M:%S.") + String(repeating: "0", count: max(0, 9 - nanoseconds.count))
            + nanoseconds + "Z"
    }

    private static func formatted(_ parts: tm, _ format: String) -> String {
        var text = [CChar](repeating: 0, count: 64)
        var parts = parts
        let count = strftime(&text, text.count, format, &parts)
        return String(decoding: text[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension LanfsClient.VolumePath {
    init(_ path: VolumePath) { self.init(names: path.components, isDirectory: path.namesFolder) }
}
