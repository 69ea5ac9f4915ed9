/// The version that `--version` prints and the manual pages carry.
enum Version {
    static let text = "0.1.0"
}
