"""What a network answers by, in the parameters of rendered scenes: how many objects, how large ...

Scenes are drawn again with one or two parameters set to other values, so a change of the answer is
due to them alone and every image is one that the generator could have drawn: the partial
dependence, importance and surrogates of Skater and Eli5 without their made-up inputs.
"""
