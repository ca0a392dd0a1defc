import CRIProtocol
import RuntimeModel

/// Which seccomp profile a request names; both forms of the field, the structured one wins.
enum SeccompChoice: Sendable, Hashable {
  case unconfined
  case runtimeDefault
  /// A file of the node's: its absolute path, and the field that named it, for errors.
  case localhost(path: String, field: String)

  /// - Parameter field: path of the security context in the request, for errors.
  /// - Throws: `invalidArgument`.
  init(profile: Runtime_V1_SecurityProfile?, path: String, field: String) throws(RuntimeError) {
    if let profile {
      self = try Self.structured(profile, field: "\(field).seccomp")
      return
    }
    switch path {
    case "", "unconfined": self = .unconfined
    case "runtime/default", "docker/default": self = .runtimeDefault
    case _ where path.hasPrefix("localhost/"):
      self = try Self.localhost(path, field: "\(field).seccomp_profile_path")
    default:
      throw RuntimeError(.invalidArgument, "\(field).seccomp_profile_path: \"\(path.prefix(256))\" is not a profile")
    }
  }

  private static func structured(
    _ profile: Runtime_V1_SecurityProfile, field: String
  ) throws(RuntimeError) -> SeccompChoice {
    if profile.profileType != .localhost && !profile.localhostRef.isEmpty {
      throw RuntimeError(.invalidArgument, "\(field).localhost_ref is set though profile_type is not Localhost")
    }
    switch profile.profileType {
    case .runtimeDefault: return .runtimeDefault
    case .unconfined: return .unconfined
    case .localhost: return try localhost(profile.localhostRef, field: "\(field).localhost_ref")
    case .UNRECOGNIZED(let value):
      throw RuntimeError(.invalidArgument, "\(field).profile_type: \(value) is not a profile type")
    }
  }

  /// `/absolute/path`, also after `localhost/`, which kubelet's older form puts before it.
  private static func localhost(_ text: String, field: String) throws(RuntimeError) -> SeccompChoice {
    let prefix = "localhost/"
    let path = text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
    guard path.hasPrefix("/"), path.utf8.count < 4096, !path.utf8.contains(where: { $0 < 32 }) else {
      throw RuntimeError(.invalidArgument, "\(field): \"\(text.prefix(256))\" is not an absolute path")
    }
    return .localhost(path: path, field: field)
  }
}
