import Glibc
import LanfsClient
import LanfsFileSystem

/// `lanfs ls`.
enum List {
    static func run(_ options: ListOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let volume = try await session.open(try session.key(), create: false) { $0.readOnly = true }
        defer { volume.abandon() }
        var output = StandardOutput()
        var json: [JSONValue] = []
        let isHeaded = options.recursive || options.paths.count > 1
        var isFirst = true
        var worst = ExitCode.success
        for path in options.paths {
            do {
                let target = LanfsClient.VolumePath(names: path.components, isDirectory: path.namesFolder)
                var listings: [(LanfsClient.VolumePath, [Listed])] = []
                try await volume.list(target, isRecursive: options.recursive) { listings.append(($0, $1)) }
                for (directory, entries) in listings {
                    let shown = options.all ? entries : entries.filter { $0.path.name?.first != UInt8(ascii: ".") }
                    if options.json {
                        json += shown.map(member)
                        continue
                    }
                    if isHeaded { try output.write("\(isFirst ? "" : "\n")\(directory):\n") }
                    isFirst = false
                    try output.write(options.long ? long(shown, options) : short(shown, options))
                }
            } catch let error as TransferError {
                StandardError.write("lanfs ls: \(error)\n")
                worst = CommandError(error).code
            } catch let error as CommandError {
                throw error
            } catch {
                throw CommandError(.failure, "\(error)")
            }
        }
        if options.json { try output.write(JSONValue.array(json).text + "\n") }
        try output.flush()
        return worst
    }

    private static func short(_ entries: [Listed], _ options: ListOptions) -> String {
        let names = entries.map { Printable.text($0.path.name ?? []) }
        if let columns = Terminal.columns(STDOUT_FILENO), !options.onePerLine {
            return TextTable.grid(names, columns: columns)
        }
        return names.map { $0 + "\n" }.joined()
    }

    private static func long(_ entries: [Listed], _ options: ListOptions) -> String {
        var table = TextTable([.left, .right, .right, .right, .right, .left, .left])
        for entry in entries {
            let attributes = entry.attributes
            var name = Printable.text(entry.path.name ?? [])
            if let target = entry.target { name += " -> \(Printable.text(target))" }
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
        var text = [CChar](repeating: 0, count: 32)
        let count = strftime(&text, text.count, "%Y-%m-%d %H:%M", &parts)
        return String(decoding: text[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func member(_ entry: Listed) -> JSONValue {
        let attributes = entry.attributes
        var members: [JSONValue.Member] = []
        members.append("path", bytes: Array(entry.path.names.joined(separator: [UInt8(ascii: "/")])))
        members.append(.init("type", .string("\(attributes.type)")))
        members.append(.init("mode", .unsigned(UInt64(attributes.permissions))))
        members.append(.init("links", .unsigned(UInt64(attributes.linkCount))))
        members.append(.init("uid", .unsigned(UInt64(attributes.user))))
        members.append(.init("gid", .unsigned(UInt64(attributes.group))))
        members.append(.init("size", .unsigned(attributes.size)))
        members.append(.init("modified", .integer(attributes.modified.seconds)))
        members.append(.init("modified_ns", .unsigned(UInt64(attributes.modified.nanoseconds))))
        if let target = entry.target { members.append("target", bytes: target) }
        return .object(members)
    }
}
