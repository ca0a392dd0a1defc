import CRIProtocol
import RuntimeModel

/// Which seccomp profile a request names; both forms of the field, the structured one wins.
enum SeccompChoice: Sendable, Hashable {
  case unconfined
  case runtimeDefault

  /// - Parameter field: path of the security context in the request, for errors.
  /// - Throws: `invalidArgument`, and `unimplemented` for Localhost profiles.
  init(profile: Runtime_V1_SecurityProfile?, path: String, field: String) throws(RuntimeError) {
    if let profile {
      self = try Self.structured(profile, field: "\(field).seccomp")
      return
    }
    switch path {
    case "", "unconfined": self = .unconfined
    case "runtime/default", "docker/default": self = .runtimeDefault
    case _ where path.hasPrefix("localhost/"):
      throw RuntimeError(.unimplemented, "\(field).seccomp_profile_path: Localhost profiles are not supported yet")
    default:
      throw RuntimeError(.invalidArgument, "\(field).seccomp_profile_path: \"\(path)\" is not a profile")
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
    case .localhost:
      throw RuntimeError(.unimplemented, "\(field): Localhost profiles are not supported yet")
    case .UNRECOGNIZED(let value):
      throw RuntimeError(.invalidArgument, "\(field).profile_type: \(value) is not a profile type")
    }
  }
}
