"""The built-in cases, in the order they are measured."""

from coreml_assay.accuracy.digits import DIGITS
from coreml_assay.accuracy.faces import FACES
from coreml_assay.accuracy.sentences import SENTENCES
from coreml_assay.accuracy.sounds import BASIC_PITCH, CREPE

BUILT_IN = (DIGITS, CREPE, BASIC_PITCH, FACES, SENTENCES)
