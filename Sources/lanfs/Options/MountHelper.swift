/// The command line that mount(8) hands to a helper: `mount.lanfs SOURCE MOUNTPOINT [-sfnv] [-o OPT[,OPT]...]`.
/// It is spoken when the program is started under one of these names, as through a symbolic link in /sbin.
struct MountHelper: Sendable {
    static let programNames = ["mount.lanfs", "mount.fuse.lanfs"]
    /// Sources that stand for the default key; any other word is the name or the file of a key.
    static let sourcesForDefaultKey: [Argument] = ["none", "lanfs"]

    var options: MountOptions
    /// `mount --fake`: check everything and mount nothing.
    var isRehearsal: Bool

    static let fakeFlag = Flag("fake", "f", help: "check the options and mount nothing")
    static let sloppyFlag = Flag("sloppy", "s", help: "leave out options that are not known")
    static let noTableFlag = Flag("no-mtab", "n", help: "accepted and without effect")
    static let readOnlyFlag = Flag("read-only", "r", help: "mount read-only")
    static let readWriteFlag = Flag("rw", "w", help: "mount for reading and writing")
    static let namespaceOption = ValueOption<LocalPath>("namespace", "N", "NS", help: "accepted and without effect")
    static let typeOption = ValueOption<UserName>("types", "t", "TYPE", help: "accepted and without effect")
    /// Read later and word by word, so that `-s` can leave out the unknown ones.
    static let wordsOption = ValueOption<RawWordList>(
        "options", "o", "OPT[,OPT]...", repeatable: true, help: "mount options, as in fstab")

    static let command = Command(
        name: "mount", invocation: "mount.lanfs", summary: "mount the volume, for mount(8)",
        overview: """
            The helper of mount(8) for lines of fstab. SOURCE is the name or the file of a volume key; 'none' and \
            'lanfs' stand for the default one. For use by hand there is 'lanfs mount'.
            """,
        operands: [
            .init(metavar: "SOURCE", count: .one, completion: .key),
            .init(metavar: "MOUNTPOINT", count: .one, completion: .directory),
        ],
        options: [
            wordsOption.row, readOnlyFlag.row, readWriteFlag.row, fakeFlag.row, sloppyFlag.row, noTableFlag.row,
            namespaceOption.row, typeOption.row,
        ] + CommonOptions.rows,
        examples: [
            .init(line: "mount -t lanfs none /mnt/volume", meaning: "the default key"),
            .init(line: "work /mnt/work lanfs _netdev,nofail 0 0", meaning: "a line of /etc/fstab"),
        ])

    init(_ parsed: ParsedArguments) throws(UsageError) {
        var options = MountOptions()
        options.client.common = CommonOptions(parsed)
        if !Self.sourcesForDefaultKey.contains(parsed.operands[0]) {
            options.client.key = .file(try parsed.operand(0, "SOURCE"))
        }
        let folder: LocalFolder = try parsed.operand(1, "MOUNTPOINT")
        options.mountPoint = folder.path
        options.readOnly = parsed.isSet(Self.readOnlyFlag)
        let sloppy = parsed.isSet(Self.sloppyFlag)
        for text in try parsed.values(Self.wordsOption).flatMap(\.words) {
            do {
                guard let entry = try MountWord.recognise(text) else { continue }
                try options.apply([entry], parsed)
            } catch let bad as BadValue {
                if !sloppy { throw parsed.error("-o: \(bad.why)") }
            } catch let usage as UsageError {
                throw usage
            } catch {
                throw parsed.error("-o: \(text.quoted) could not be read")
            }
        }
        guard options.cacheMemory >= MountOptions.smallestCacheMemory else {
            throw parsed.error("-o cache-memory: the least is \(MountOptions.smallestCacheMemory)")
        }
        self.options = options
        isRehearsal = parsed.isSet(Self.fakeFlag)
    }
}

/// A list of words for `mount -o` that have not been looked at yet.
struct RawWordList: Sendable, ArgumentValue {
    let words: [Argument]
    static var completion: Completion { .mountWords }
    init(argument: Argument) throws(BadValue) { words = MountWord.split(argument) }
}
